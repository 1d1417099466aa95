"""What a subject has found: samples, tables of their medians, and the figures to reach."""

from dataclasses import dataclass, field
from statistics import median

from typing import Callable


def percentile(samples: list[float], percent: float) -> float:
    """By nearest rank: a value that was measured, never one in between."""
    ordered = sorted(samples)
    rank = -(-len(ordered) * percent // 100)  # Rounded up.
    return ordered[max(int(rank), 1) - 1]


@dataclass
class Column:
    """How the samples of one quantity become a cell."""

    heading: str  # With its unit.
    quantity: str
    summary: Callable[[list[float]], float] = median


@dataclass
class Table:
    """One row a variant, one column a quantity; the samples stay as they came."""

    title: str
    columns: list[Column]
    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, variant: str, **quantities: float) -> None:
        """One sample of each quantity. Variants appear in the order of their first sample."""
        row = self.rows.setdefault(variant, {})
        for quantity, value in quantities.items():
            row.setdefault(quantity, []).append(float(value))

    def value(self, variant: str, quantity: str, summary: Callable[[list[float]], float] = median) -> float:
        return summary(self.rows[variant][quantity])

    def ratio(self, variant: str, quantity: str, base: str) -> float:
        """Of medians. Both were measured in turn, in the same run: only so a ratio means something."""
        return self.value(variant, quantity) / self.value(base, quantity)

    def lines(self) -> list[str]:
        header = ["", *[column.heading for column in self.columns]]
        body = []
        for variant, row in self.rows.items():
            cells = [_shown(column.summary(row[column.quantity])) if column.quantity in row else "" for column in self.columns]
            body.append([variant, *cells])
        widths = [max(len(line[i]) for line in [header, *body]) for i in range(len(header))]
        return [self.title] + ["  " + line[0].ljust(widths[0]) + "".join("  " + cell.rjust(width) for cell, width in
                                                                         zip(line[1:], widths[1:])) for line in [header, *body]]

    def as_json(self) -> dict:
        return {"title": self.title,
                "rows": {variant: {quantity: {"median": median(samples), "samples": samples} for quantity, samples in row.items()}
                         for variant, row in self.rows.items()}}


@dataclass
class Target:
    """A figure to reach, and what was measured."""

    what: str
    measured: float
    limit: float
    at_least: bool = False

    @property
    def reached(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def line(self) -> str:
        verdict = "reached" if self.reached else "MISSED "
        return f"  {verdict}  {self.what}: {_shown(self.measured)} (at {'least' if self.at_least else 'most'} {_shown(self.limit)})"

    def as_json(self) -> dict:
        return {"what": self.what, "measured": self.measured, "limit": self.limit, "at_least": self.at_least, "reached": self.reached}


@dataclass
class Report:
    """All that one subject has to say."""

    subject: str
    tables: list[Table]
    targets: list[Target]
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        lines = [f"== {self.subject}"]
        for table in self.tables:
            lines += [*table.lines(), ""]
        lines += [f"  {note}" for note in self.notes]
        lines += [target.line() for target in self.targets]
        return "\n".join(lines) + "\n"

    def as_json(self) -> dict:
        return {"tables": [table.as_json() for table in self.tables], "targets": [target.as_json() for target in self.targets],
                "notes": self.notes}


def _shown(value: float) -> str:
    """Three digits that count."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
