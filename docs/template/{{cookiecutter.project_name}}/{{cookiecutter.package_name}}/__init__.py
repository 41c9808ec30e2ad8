"""Parts for dfl: a decision loss and a method."""
