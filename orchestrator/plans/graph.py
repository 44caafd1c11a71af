"""A plan's steps as a graph: who comes before whom, and the ways round in circles. Pure, linear in what is given."""

from collections.abc import Sequence

from orchestrator.contracts.plans import Plan, PlanStep


def resolved(plan: Plan) -> Plan:
    """The same plan with the dependencies of every step written out: absent means the previous step (CONTRACT 9)."""
    steps = [
        step if step.dependencies is not None else step.model_copy(update={"dependencies": before})
        for step, before in zip(plan.steps, _previous(plan.steps), strict=True)
    ]
    return plan.model_copy(update={"steps": steps})


def _previous(steps: Sequence[PlanStep]) -> list[list[str]]:
    return [[], *([step.id] for step in steps[:-1])]


def needed(step: PlanStep) -> list[str]:
    """The dependencies of a step of a resolved plan."""
    return step.dependencies or []


class Graph:
    """Which steps of a resolved plan depend on which. Steps are known by their places; the first of an id counts."""

    def __init__(self, plan: Plan) -> None:
        self.place: dict[str, int] = {}
        for at, step in enumerate(plan.steps):
            self.place.setdefault(step.id, at)
        self.edges = [[self.place[d] for d in needed(step) if d in self.place] for step in plan.steps]
        self._masks = [sum(1 << at for at in set(edges)) for edges in self.edges]
        self._before: dict[int, int] = {}

    def before(self, at: int) -> int:
        """All steps that the step at this place depends on, over any number of others: bit n stands for place n."""
        if at not in self._before:
            self._before[at] = self._reached(at)
        return self._before[at]

    def _reached(self, at: int) -> int:
        seen = todo = self._masks[at]
        while todo:
            lowest = todo & -todo
            new = self._masks[lowest.bit_length() - 1] & ~seen
            seen |= new
            todo = (todo ^ lowest) | new
        return seen

    def cycles(self) -> list[list[int]]:
        """Ways round in circles, each from a step back to itself: at least one through every knot of steps.

        A depth-first walk; a step that is met again on its own way closes a circle.
        """
        found: list[list[int]] = []
        told: set[int] = set()
        done: set[int] = set()
        for start in range(len(self.edges)):
            if start in done:
                continue
            way, left = [start], [iter(self.edges[start])]
            on_way = {start}
            while way:
                following = next(left[-1], None)
                if following is None:
                    done.add(way[-1])
                    on_way.discard(way.pop())
                    left.pop()
                elif following in on_way:
                    if following not in told:
                        circle = way[way.index(following) :]
                        told.update(circle)
                        found.append([*circle, following])
                elif following not in done:
                    way.append(following)
                    on_way.add(following)
                    left.append(iter(self.edges[following]))
        return found
