"""What the docs say of speed, simulations and other kinds of data: from the benchmarks' committed records."""

import json
from collections.abc import Callable
from pathlib import Path

from analysis.table import Table
from labels import listed
from views import domain_tables, simulation_tables
from views.doc_studies import span
from views.render import render


class BenchmarkNumbers:
    """Every answer is a text, from the records below ``root``."""

    root: Path

    def benchmark(self, name: str) -> dict:
        """What a benchmark measured when it was run last, from ``benchmarks/results/``."""
        return json.loads((self.root / "benchmarks" / "results" / f"{name}.json").read_text())

    def processor(self, benchmark: str) -> str:
        """Where a benchmark was run last."""
        found = self.benchmark(benchmark)["environment"]
        return f"{found['processor']} with {found['cpu_capability']}"

    def speed_goals(self) -> str:
        """Which of the goals of training's speed are reached, and where ours is the slower loop, in sentences."""
        rows = self.benchmark("bench_training")["results"]
        ratios = {row["name"].replace(", small", " at the small shape"): row["ours_to_obvious"] for row in rows}
        goals = dict(zip(ratios, (row["goals"]["ours"] for row in rows), strict=True))
        missed = [name for name, ratio in ratios.items() if ratio < goals[name]]
        if not missed:
            return "Every goal is reached."
        reached = [name for name in ratios if name not in missed]
        slower = [name for name in missed if ratios[name] < 1]
        said = f"The goal is missed for {listed(missed)}"
        said += f" (of {listed(reached)} it is reached)." if reached else "."
        return f"{said} Ours is the slower loop for {listed(slower)}." if slower else said

    def simulated(self, name: str) -> str:
        """One of the tables of ``simulation_tables``, from the committed record."""
        tables: dict[str, Callable[[dict], Table]] = {
            "goals": simulation_tables.goals,
            "missed": simulation_tables.missed,
            "power": simulation_tables.power,
            "verdicts": simulation_tables.verdicts,
        }
        return render(tables[name](self.benchmark("coverage")), "github").rstrip()

    def cv_covered_too_often(self) -> str:
        return simulation_tables.too_often(self.benchmark("coverage"))

    def domains(self, name: str) -> str:
        """One of the tables of ``domain_tables``, from the committed record."""
        return render(domain_tables.TABLES[name](self.benchmark("domains")), "github").rstrip()

    def domain_sentences(self) -> list[str]:
        return domain_tables.sentences(self.benchmark("domains"))

    def domain_sizes(self) -> str:
        """The range of their parameters, such as "730 to 8,803"."""
        found = [domain["parameters"].values() for domain in self.benchmark("domains")["domains"].values()]
        return span([n for values in found for n in values], "{:,}")

    def domain_seeds(self) -> str:
        """The range over domains of the seeds that would show a difference of 10 %."""
        return span([domain["seeds_needed"] for domain in self.benchmark("domains")["domains"].values()], "{:,}")
