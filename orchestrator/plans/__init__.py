"""Floor 3: the plan language: templates, conditions, validation, scheduling, re-planning, history. All of it pure."""
