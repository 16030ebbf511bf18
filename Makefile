# The recipe as make targets. `make` lists them; each installs what it needs first.

PROFILE ?= tiny
SEED ?= 0
PLACEBO ?=
STEPS ?=
DATA ?=
RUNS ?= runs
CONFIGS ?= configs
VENV ?= .venv
PYTHON ?=
TESTS ?=
BENCH ?= tiny
MODEL ?=

BIN := $(VENV)/bin
on = $(filter-out 0 false no,$(1))

# The first Python >= 3.11 that can make a virtual environment. Each is tried, as a name alone may be a launcher
# without a Python behind it.
candidates = $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3)
define install
@for python in $(candidates); do \
	if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		exec "$$python" tools/setup_venv.py "$(VENV)" $(1); \
	fi; \
done; \
echo "make: no Python >= 3.11 with venv among: $(candidates). Install one, or say make PYTHON=/path/to/python" >&2; exit 1
endef

# The stages, what each reads and its command stand in src/r1lit/recipe.py. $(1): what to do; $(2): the interpreters
# that may do it; $(3): variables for it. `make -n` does run the checks, which then print the stages' commands.
dry = $(if $(findstring n,$(filter-out --%,$(firstword $(MAKEFLAGS)))),--show)
define recipe
@for python in $(2); do \
	if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		$(3) exec "$$python" -m r1lit.recipe $(1) --profile "$(PROFILE)" --seed "$(SEED)" --steps "$(STEPS)" \
			--prompts "$(DATA)" --bench "$(BENCH)" --model "$(MODEL)" --runs "$(RUNS)" --configs "$(CONFIGS)" \
			$(if $(call on,$(PLACEBO)),--placebo); \
	fi; \
done; \
echo "make: no Python >= 3.11 among: $(2). Install one, or say make PYTHON=/path/to/python" >&2; exit 1
endef
# Before anything is installed, any Python will do, on the code that lies here.
check = +$(call recipe,check $(1) $(dry),"$(BIN)/python" $(candidates),PYTHONPATH=src)
run = $(call recipe,run $(1),"$(BIN)/python")

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help r1 base base-stage eval report stages test test-all lint bench notebooks clean venv-stage

help: ## this list
	@echo "make TARGET [VARIABLE=value ...]"
	$(call recipe,list,"$(BIN)/python" $(candidates),PYTHONPATH=src)
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "Variables"
	@echo "  PROFILE     what to train: tiny (embedded, minutes on a CPU) or smollm2 (SmolLM2-135M, for a GPU)  [$(PROFILE)]"
	@echo "  SEED        of sampling and data order; others than 0 run in RUNS/PROFILE-seedSEED  [$(SEED)]"
	@echo "  STEPS       policy updates, instead of the config's  [$(or $(STEPS),the config's)]"
	@echo "  PLACEBO     1: shuffle the rewards, in RUNS/PROFILE-placebo  [$(or $(PLACEBO),0)]"
	@echo "  DATA        zero, eval: file of prompts (JSONL or Parquet), instead of the config's  [$(or $(DATA),the config's)]"
	@echo "  BENCH       eval: the benchmark, a file of CONFIGS/eval  [$(BENCH)]"
	@echo "  MODEL       eval: a checkpoint's folder or hub id  [the last stage of PROFILE that has run]"
	@echo "  RUNS        folder of the results  [$(RUNS)]"
	@echo "  CONFIGS     folder of the profiles; your own recipe is a changed copy of it  [$(CONFIGS)]"
	@echo "  VENV        folder of the virtual environment  [$(VENV)]"
	@echo "  PYTHON      makes the environment  [$(or $(PYTHON),the first of $(candidates))]"
	@echo "  TESTS       test: files or pytest options, instead of all tests with coverage"

# The placebo is the control of what the report claims: RL with shuffled rewards must reproduce none of it.
r1:
	$(call check,r1)
	$(call install,$(extras))
	$(call run,r1)
	@$(MAKE) --no-print-directory zero PLACEBO=1
	@$(MAKE) --no-print-directory report

base-stage: ## the base model, exported and measured
	$(call check,base)
	$(call install,$(extras))
	$(call run,base)

eval: ## BENCH of MODEL: pass@1, pass@k, the majority vote, lengths
	$(call check,eval)
	$(call install,$(filter smollm2,$(PROFILE)) $(if $(filter tiny,$(BENCH)),,hub))
	$(call run,eval)

report: venv-stage ## report.html and summary.json: the paper's claims beside what was measured, of all seeds that were run
	@"$(BIN)/r1lit" report "$(RUNS)/$(PROFILE)$(if $(filter-out 0,$(SEED)),-seed$(SEED))$(if $(call on,$(PLACEBO)),-placebo)"

stages: venv-stage ## the stage table, mean and range over all seeds that were run
	@"$(BIN)/python" -m r1lit.report.stages $(wildcard $(RUNS)/$(PROFILE) $(RUNS)/$(PROFILE)-seed?)

# Tokenizer and newborn models first; the results lie in RUNS/tiny/{base,student}-train/model and replace nothing.
base: venv-stage ## train the tiny world's base and student again (about half an hour; the package ships both)
	@test -f "$(RUNS)/tiny/newborn/config.json" || "$(BIN)/python" -m r1lit.tiny_world.seed_model "$(RUNS)/tiny/newborn"
	@test -f "$(RUNS)/tiny/newborn-student/config.json" || \
		"$(BIN)/python" -m r1lit.tiny_world.seed_model "$(RUNS)/tiny/newborn-student" --layers 2
	$(call pretrain,base,newborn,base-train)
	$(call pretrain,student,newborn-student,base-train student-train)

# $(1): base or student; $(2): the model it starts from; $(3): its configurations.
define pretrain
@set -- fit $(foreach name,$(3),-c "$(CONFIGS)/tiny/$(name).yaml") --stage.dir "$(RUNS)/tiny/$(1)-train" \
	--model.init_from "$(RUNS)/tiny/$(2)" --data.tokenizer "$(RUNS)/tiny/$(2)"; \
status=0; "$(BIN)/python" -m r1lit.freshness "$$@" || status=$$?; \
case $$status in 0) ;; 1) "$(BIN)/r1lit" "$$@" ;; *) exit $$status ;; esac
endef

extras = $(if $(filter tiny smollm2,$(PROFILE)),$(filter smollm2,$(PROFILE)),hub)
venv-stage:
	$(call install,$(extras))

test: ## tests, with the coverage of functional, grading and rewards (at least 95 %)
	$(call install,dev hub notebooks smollm2)
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 "$(BIN)/python" -m pytest -q -n 2 $(or $(TESTS),-m "not slow" \
		--cov=src/r1lit/functional --cov=src/r1lit/grading --cov=src/r1lit/rewards --cov-branch --cov-report=term --cov-fail-under=95)

test-all: ## all tests, the slow ones too
	$(call install,dev hub notebooks smollm2)
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 "$(BIN)/python" -m pytest -q -n 2

lint: ## ruff, its formatter and mypy
	$(call install,dev)
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check .
	@"$(BIN)/mypy"

bench: ## benchmarks
	$(call install,)
	@"$(BIN)/python" benchmarks/run.py

notebooks: ## run all notebooks from top to bottom
	$(call install,notebooks)
	@"$(BIN)/jupyter-execute" notebooks/*.ipynb

clean: ## remove caches and build outputs (keeps VENV and RUNS)
	rm -rf build dist src/*.egg-info .coverage .coverage.* coverage.json htmlcov \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests tools benchmarks notebooks -depth -name __pycache__ -exec rm -rf {} + 2>/dev/null || true

# Every other word is a stage of the recipe, or none; then this says what there is.
%: always
	$(call check,"$@")
	$(call install,$(extras))
	$(call run,"$@")
always: ;
Makefile: ;
