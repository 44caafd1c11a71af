"""What the governor decides without a store: the status machine of a command, and sums of money."""

from decimal import Decimal

import pytest

from orchestrator.contracts.costs import Bound, Cost
from orchestrator.contracts.errors import Conflict
from orchestrator.governance.commands import machine
from orchestrator.storage import schema


class TestMachine:
    """R4-07: only legal edges."""

    @pytest.mark.parametrize("act", machine.EDGES)
    @pytest.mark.parametrize("status", machine.STATUSES)
    def test_an_act_is_legal_in_just_its_states_and_else_a_conflict_that_names_the_state(self, act, status):
        if status in machine.EDGES[act]:
            machine.require(act, status)
            return
        with pytest.raises(Conflict, match=f"the command is {status}") as caught:
            machine.require(act, status)
        assert (caught.value.code, caught.value.extra) == ("illegal_transition", {"state": status})

    def test_nothing_leaves_a_terminal_state_but_a_persons_decision_on_a_failure(self):
        """X-31."""
        leaving = {
            (act, status)
            for act, edges in machine.EDGES.items()
            for status, to in edges.items()
            if status in machine.TERMINAL and to != {status}
        }
        assert leaving == {("retry", "failed"), ("regenerate", "failed"), ("regenerate", "completed")}

    def test_every_state_is_reached_from_created(self):
        reached, todo = {"created"}, ["created"]
        while todo:
            status = todo.pop()
            for edges in machine.EDGES.values():
                new = set(edges.get(status, ())) - reached
                reached |= new
                todo += new
        assert reached == set(machine.STATUSES)

    def test_the_states_are_those_of_the_seeds_table(self):
        """R4-03."""
        assert schema.COMMAND_STATUSES == machine.STATUSES

    def test_no_act_leads_where_it_does_not(self):
        assert machine.lead("execute", "approved", "executing") == "executing"
        with pytest.raises(ValueError, match="does not lead"):
            machine.lead("execute", "approved", "completed")

    def test_what_a_person_gave_up_stays_so(self):
        """X-31: one decision."""
        for act in machine.EDGES:
            with pytest.raises(Conflict, match="the command was discarded"):
                machine.require(act, "failed", "discarded")


class TestCosts:
    """X-15."""

    def test_dollars_are_decimal_text_on_the_wire(self):
        assert Cost(usd=Decimal("0.10"), tokens=3).model_dump(mode="json") == {"usd": "0.1", "tokens": 3}
        assert Cost.model_validate({"usd": 0.1}).usd == Decimal("0.1")

    def test_a_fraction_of_a_millionth_is_not_for_free_and_a_cap_does_not_grow(self):
        assert Cost(usd=Decimal("0.0000001")).micros == 1
        assert Bound(usd=Decimal("0.0000019")).as_row()["cap_micros"] == 1

    def test_of_all_bounds_that_apply_the_least_holds(self):
        least = Bound(usd=Decimal(3)).least(Bound(tokens=5, usd=Decimal(2)), None, Bound(tokens=9))
        assert least == Bound(usd=Decimal(2), tokens=5)

    @pytest.mark.parametrize("wrong", [-1, "nan", "inf", "x", 10**10])
    def test_what_is_no_amount_is_refused(self, wrong):
        with pytest.raises(ValueError, match="usd"):
            Cost.model_validate({"usd": wrong})
