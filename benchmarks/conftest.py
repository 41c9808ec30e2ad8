"""What every benchmark's saved JSON holds: the processor, not the machine's name."""

from typing import Any


def pytest_benchmark_update_machine_info(config: object, machine_info: dict[str, Any]) -> None:
    """Keep what explains a figure."""
    cpu = machine_info.get("cpu", {})
    kept = {name: machine_info.get(name) for name in ("machine", "python_version", "system")}
    machine_info.clear()
    machine_info.update(kept, cpu=cpu.get("brand_raw"), cores=cpu.get("count"))


def pytest_benchmark_update_json(
    config: object, benchmarks: object, output_json: dict[str, Any]
) -> None:
    """Keep the figures and leave out single rounds and the commit's particulars."""
    output_json.pop("commit_info", None)
    for one in output_json["benchmarks"]:
        for name in one.keys() - {"name", "group", "extra_info", "stats"}:
            del one[name]
        one["stats"] = {name: one["stats"][name] for name in ("min", "median", "max", "rounds")}
