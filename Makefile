# Every target is one word of `python3 -m orchestrator.bootstrap`, which needs nothing but Python 3.11 or newer.
# Choices go on the line: make run PORT=8000 STATE=state PLUGINS=folder INSTALL=never BASE=registry

PYTHON ?= $(shell for p in .venv/bin/python python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
TARGETS := help run test demo bench lint attack campaign humaneval test-bare engine-start engine-stop install-unit uninstall

.PHONY: $(TARGETS)
$(TARGETS):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: sudo apt-get install python3" >&2; exit 3; }
	@exec $(PYTHON) -m orchestrator.bootstrap $@
