"""Every table by its name on the command line, in the order shown."""

from analysis import (
    companion_tables,
    finding_tables,
    registered,
    report_tables,
    robustness_tables,
    variant_tables,
)

TABLES = (
    report_tables.TABLES
    | finding_tables.TABLES
    | robustness_tables.TABLES
    | companion_tables.TABLES
    | registered.TABLES
    | variant_tables.TABLES
)
