"""Second derivatives of an inner loss as products, and the linear systems made of them."""

__all__: list[str] = []
