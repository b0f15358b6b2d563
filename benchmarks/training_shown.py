"""What ``bench_training`` measured, as tables and as a figure."""

import io

from matplotlib.figure import Figure
from tabulate import tabulate

from benchmarks.ours import EVALUATIONS, LONG_TRIAL


def ranged(value: dict[str, float], digits: int = 2) -> str:
    """A median, with minimum and maximum."""
    return "{median:,.{d}f} [{min:,.{d}f}, {max:,.{d}f}]".format(d=digits, **value)


def describe(results: list[dict], cores: int) -> str:
    names = list(dict.fromkeys(name for r in results for name in r["characters_per_second"]))
    rates = [
        [
            r["name"],
            *(ranged(r["characters_per_second"][n], 0) if n in r["characters_per_second"] else "" for n in names),
        ]
        for r in results
    ]
    compared = list(dict.fromkeys(name for r in results for name in r["ratios"]))
    against = [
        [
            r["name"],
            r["best_obvious"],
            f"{r['goals']['ours']:.1f}",
            *(ranged(r["ratios"][n]) if n in r["ratios"] else "" for n in compared),
        ]
        + [f"{r['peak_memory_mb']['ours']:.0f}"]
        for r in results
    ]
    parts = list(results[0]["seconds_of_parts"])
    seconds = [
        [r["name"], *(f"{r['seconds_of_parts'].get(name, 0):.1f}" for name in parts)]
        + [f"{100 * r[share]:.1f} %" for share in SHARES]
        for r in results
    ]
    return "\n\n".join(
        [
            f"characters a second on {cores} cores, median [minimum, maximum] of the rounds",
            tabulate(rates, ["", *names], disable_numparse=True),
            tabulate(
                against,
                ["", "best obvious loop", "goal beside it", *compared, "memory of a worker (MB)"],
                disable_numparse=True,
            ),
            f"seconds of {LONG_TRIAL} iterations with {EVALUATIONS} evaluations",
            tabulate(
                seconds, ["", *parts, "evaluation and saving", "the same, fewer contexts"], disable_numparse=True
            ),
        ]
    )


SHARES = ("share_of_evaluation_and_saving", "share_with_fewer_contexts")
LOOKS = {
    "obvious": ("#cccccc", "the obvious loop, best of four"),
    "ours": ("#555555", "ours"),
    "floor": ("white", "the kernels alone"),
}


def draw(results: list[dict], cores: int) -> bytes:
    """Bars of the medians, with a whisker from minimum to maximum."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    ax = figure.subplots()
    for offset, (name, (colour, said)) in enumerate(LOOKS.items()):
        rates = [r["characters_per_second"][r["best_obvious"] if name == "obvious" else name] for r in results]
        places = [i + (offset - 1) * 0.27 for i in range(len(results))]
        heights = [rate["median"] / 1000 for rate in rates]
        beyond = [[abs(rate[end] - rate["median"]) / 1000 for rate in rates] for end in ("min", "max")]
        ax.bar(places, heights, 0.25, color=colour, edgecolor="#555555", linewidth=0.6, label=said)
        ax.errorbar(places, heights, beyond, fmt="none", ecolor="#999999", elinewidth=1)
        if name == "ours":
            for place, rate, r in zip(places, rates, results, strict=True):
                ax.text(
                    place, rate["max"] / 1000, f"x{r['ours_to_obvious']:.2f}", ha="center", va="bottom", fontsize=9
                )
    ax.set_xticks(range(len(results)), [r["name"] for r in results])
    ax.set_ylabel("thousand characters a second")
    ax.set_title(f"Training throughput on {cores} cores (medians and ranges; numbers: ours / obvious)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, ncols=3)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120, metadata={"Software": None})
    return drawn.getvalue()
