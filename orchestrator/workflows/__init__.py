"""Seed 001 from Python: `Planner`, `Executor`, `CapabilityRegistry`, `PlanReplay` over the doors of one daemon."""
