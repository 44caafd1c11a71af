"""The hooks that ship, one a file, each with `make`; the setting `governance.policy_hooks` switches them on by name."""
