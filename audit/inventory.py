"""Is every number of the report in a line of the audit? Pure functions of ``data/report.json``.

The file lists all numerals of the report by section, as they are printed. The audit has a line for one if it is in a
table's row, in the words of a claim, or in words that are declared to be no claim, with the reason.
"""

import re
from collections import Counter

from audit.numbers import quantities

# A number as it is printed, with its sign and thousands; not one inside a name, such as SmeLU-1, β=0.5, Top-1, GB10.
OUTSIDE_NAMES = r"(?<![\w.,β])(?<!β=)(?<!β = )(?:(?<![A-Za-z]-)|(?<=\dK-)|(?<=sub-)|(?<=top-))"
NUMERAL = re.compile(OUTSIDE_NAMES + r"(?:[+-](?=\d))?\d+(?:,\d{3})*(?:\.\d+)*(?:e-\d+)?")


def numerals(text: str) -> list[str]:
    return NUMERAL.findall(text)


def without_line(report: dict) -> dict[str, list[str]]:
    """Of each section, the numerals that are in no line of the audit, as often as they are missing."""
    missing = {
        each["section"]: sorted((Counter(each["numerals"]) - _audited(report, each["section"])).elements())
        for each in report["numerals"]
    }
    return {section: found for section, found in missing.items() if found}


def not_printed(report: dict) -> dict[str, list[str]]:
    """Of each section, the numerals in its lines that the report does not print there: misquoted ones."""
    printed = {each["section"]: set(each["numerals"]) for each in report["numerals"]}
    sections = {each["section"] for name in ("sections", "claims", "no_claims") for each in report[name]}
    found = {section: sorted(set(_audited(report, section)) - printed.get(section, set())) for section in sections}
    return {section: extra for section, extra in found.items() if extra}


def _audited(report: dict, section: str) -> Counter[str]:
    """The numerals of a section that are in a line of the audit."""
    rows = [row for each in report["sections"] if each["section"] == section for row in each["rows"]]
    words = [each["words"] for name in ("claims", "no_claims") for each in report[name] if each["section"] == section]
    counts = Counter(row[quantity] for row in rows for quantity in quantities(row))
    return counts + Counter(numeral for text in words for numeral in numerals(text))
