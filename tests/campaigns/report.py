"""What a campaign found: figures, most of them with a bound that they are held to, told as lines for a person."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: what was looked at, what was found, and the bound that it broke or kept, if it has one."""

    what: str
    found: str
    bound: str = ""
    holds: bool = True


@dataclass(slots=True)
class Report:
    """The figures of one campaign."""

    title: str
    figures: list[Figure] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every bound was kept."""
        return all(figure.holds for figure in self.figures)

    def tell(self, what: str, found: object, unit: str = "") -> None:
        """A figure without a bound."""
        self.figures.append(Figure(what, _text(found, unit)))

    def at_most(self, what: str, found: float, most: float, unit: str = "") -> None:
        """A figure that must not be larger."""
        self.figures.append(Figure(what, _text(found, unit), f"at most {_text(most, unit)}", found <= most))

    def nothing(self, what: str, found: object) -> None:
        """Things of which there must be none; where there are, the first of them are told."""
        things = list(found) if isinstance(found, list | set | tuple | dict) else [found] if found else []
        told = "; ".join(str(thing) for thing in sorted(things, key=str)[:5])
        text = f"{len(things)}: {told}" if things else "none"
        self.figures.append(Figure(what, text, "none", not things))

    def all_of(self, what: str, found: int, wanted: int) -> None:
        """A count that must be complete."""
        self.figures.append(Figure(what, f"{found} of {wanted}", f"{wanted}", found == wanted))

    def lines(self) -> Iterator[str]:
        """The report for a person, a broken bound marked at its line's start."""
        yield self.title
        for figure in self.figures:
            mark = "  " if figure.holds else "! "
            bound = f"  ({figure.bound})" if figure.bound else ""
            yield f"{mark}{figure.what:44} {figure.found}{bound}"


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0 to 1) of them lie; 0 where there is none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def _text(found: object, unit: str) -> str:
    shown = f"{found:,.1f}" if isinstance(found, float) else f"{found:,}" if isinstance(found, int) else str(found)
    return f"{shown} {unit}".strip()
