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

# Runs of other seeds, and the placebo, lie beside the main run; the base depends on neither.
suffix := $(if $(filter-out 0,$(SEED)),-seed$(SEED))$(if $(call on,$(PLACEBO)),-placebo)
run_dir := $(RUNS)/$(PROFILE)$(suffix)
base_dir := $(RUNS)/$(PROFILE)/base

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

# $(1): the subcommand of r1lit; $(2): the stage, which names its config; $(3): its folder; $(4): more flags.
# A stage that is up to date is skipped; an interrupted one resumes from the checkpoint in its folder.
define run-stage
@set -- $(1) -c "$(CONFIGS)/$(PROFILE)/$(2).yaml" --stage.dir "$(3)" $(4); \
status=0; "$(BIN)/python" -m r1lit.freshness "$$@" || status=$$?; \
case $$status in 0) ;; 1) "$(BIN)/r1lit" "$$@" ;; *) exit $$status ;; esac
endef
seed = --seed_everything $(SEED)
steps = $(if $(STEPS),--stage.steps $(STEPS))
placebo = $(if $(call on,$(PLACEBO)),--stage.placebo true)
# What the columns of such a file mean stands in the profile's data.yaml.
data = $(if $(DATA),-c "$(CONFIGS)/$(PROFILE)/data.yaml" --data.path "$(DATA)")

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help r1 zero coldstart coldstart-data rl1 rl1-no-language reject sft2 rewards rl2 rl2-hacked few-shot distill distill-zero distill-zero-time distill-rl distill-on-policy base base-stage eval report stages test test-all lint bench notebooks clean venv-stage check-profile check-recipe

help: ## this list
	@echo "make TARGET [VARIABLE=value ...]"
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
r1: check-recipe rl2 rl1-no-language distill distill-zero distill-zero-time distill-rl few-shot ## the whole paper: all stages, the comparisons, the placebo, the report
	@$(MAKE) --no-print-directory zero PLACEBO=1
	@$(MAKE) --no-print-directory report

zero: base-stage ## R1-Zero: pure RL on the base model
	$(call run-stage,fit,zero,$(run_dir)/zero,--model.init_from "$(base_dir)/model" $(seed) $(steps) $(placebo) $(data))

# The cold start's texts are samples of R1-Zero, but what is trained on them is the base again (paper, 2.3.1).
coldstart-data: zero
	$(call run-stage,predict,coldstart-data,$(run_dir)/coldstart-data,--model.init_from "$(run_dir)/zero/model" \
		--model.store_for.init_from "$(base_dir)/model" $(seed))

coldstart: coldstart-data ## Dev1: SFT of the base on readable traces
	$(call run-stage,fit,coldstart,$(run_dir)/coldstart,--model.init_from "$(base_dir)/model" \
		--data.sources.coldstart.path "$(run_dir)/coldstart-data/data" $(seed))

rl1: coldstart ## Dev2: reasoning RL with a language-consistency reward
	$(call run-stage,fit,rl1,$(run_dir)/rl1,--model.init_from "$(run_dir)/coldstart/model" $(seed) $(steps))

rl1-no-language: coldstart ## ablation: rl1 without the language-consistency reward
	$(call run-stage,fit,rl1,$(run_dir)/rl1-no-language,-c "$(CONFIGS)/$(PROFILE)/rl1-no-language.yaml" \
		--model.init_from "$(run_dir)/coldstart/model" $(seed) $(steps))

reject: rl1 ## rejection sampling: Dev2's correct traces and general data
	$(call run-stage,predict,reject,$(run_dir)/reject,--model.init_from "$(run_dir)/rl1/model" $(seed))

sft2: reject ## Dev3: SFT of the base again, on those
	$(call run-stage,fit,sft2,$(run_dir)/sft2,--model.init_from "$(base_dir)/model" \
		--data.sources.reject.path "$(run_dir)/reject/data" $(seed))

rewards: sft2 ## the reward models of helpfulness and of safety
	$(call run-stage,fit,rewards-helpful,$(run_dir)/rewards/helpful,--model.init_from "$(run_dir)/sft2/model" $(seed))
	$(call run-stage,fit,rewards-safety,$(run_dir)/rewards/safety,--model.init_from "$(run_dir)/sft2/model" $(seed))

reward_models = --stage.reward_models.helpful "$(run_dir)/rewards/helpful/model"
rl2: rewards ## R1: RL for all scenarios, rules and both reward models
	$(call run-stage,fit,rl2,$(run_dir)/rl2,--model.init_from "$(run_dir)/sft2/model" $(reward_models) \
		--stage.reward_models.safe "$(run_dir)/rewards/safety/model" $(seed) $(steps))

rl2-hacked: rewards ## ablation: rl2 with the helpfulness model over-optimised
	$(call run-stage,fit,rl2,$(run_dir)/rl2-hacked,-c "$(CONFIGS)/$(PROFILE)/rl2-hacked.yaml" \
		--model.init_from "$(run_dir)/sft2/model" $(reward_models) $(seed) $(steps))

few-shot: rl2 ## R1 with worked examples in its prompt
	$(call run-stage,test,few-shot,$(run_dir)/few-shot,--model.init_from "$(run_dir)/rl2/model" $(seed))

# A student may have a tokenizer of its own, so it reads the kept chats as text, not the store of the teacher's tokens.
distill: reject ## distillation: SFT of a small student on the kept traces
	$(call run-stage,fit,distill,$(run_dir)/distill,--data.sources.reject.path "$(run_dir)/reject/chats.parquet" $(seed))

# $(1): what stage.json records of effort; $(2): the stages it is added up of.
effort_of = "$$("$(BIN)/python" -c 'import json, sys; run, key, *stages = sys.argv[1:]; \
	print(sum(json.load(open(f"{run}/{stage}/stage.json"))[key] for stage in stages))' "$(run_dir)" $(1) $(2))"
distill-zero: reject ## comparison: the student by RL alone, at the tokens that its teacher sampled for it
	$(call run-stage,fit,distill-zero,$(run_dir)/distill-zero,--model.max_tokens_sampled \
		$(call effort_of,tokens_sampled,reject) $(seed) $(steps))

distill-zero-time: distill ## comparison: the same in the time that the teacher's sampling and the distillation took
	$(call run-stage,fit,distill-zero,$(run_dir)/distill-zero-time,-c "$(CONFIGS)/$(PROFILE)/distill-zero-time.yaml" \
		--model.max_wall_s $(call effort_of,wall_s,reject distill) $(seed) $(steps))

distill-rl: distill ## RL after distillation
	$(call run-stage,fit,distill-rl,$(run_dir)/distill-rl,--model.init_from "$(run_dir)/distill/model" $(seed) $(steps))

distill-on-policy: rl1 ## the student's own samples, the teacher's distributions
	$(call run-stage,fit,distill-on-policy,$(run_dir)/distill-on-policy,--model.teacher.init_from "$(run_dir)/rl1/model" \
		$(seed) $(steps))

# The base as it is, exported and measured; seed 0 always, so that all runs start from and compare with the same.
base-stage: venv-stage
	$(call run-stage,test,base,$(base_dir),--seed_everything 0$(if $(DATA), $(data)))

# The template of the tiny world's stages: plain text as far as R1-Zero, a chat from the cold start on.
eval: check-profile ## BENCH of MODEL: pass@1, pass@k, the majority vote, lengths
	@test -f "$(CONFIGS)/eval/$(BENCH).yaml" || { \
		echo "make: there is no $(CONFIGS)/eval/$(BENCH).yaml; BENCH is one of: $(filter-out smollm2,$(basename $(notdir $(wildcard $(CONFIGS)/eval/*.yaml))))" >&2; exit 2; }
	@test -n "$(eval_model)" || { echo "make: no stage below $(run_dir) has a model yet; give MODEL" >&2; exit 2; }
	$(call install,$(filter smollm2,$(PROFILE)) $(if $(filter tiny,$(BENCH)),,hub))
	@set -- test -c "$(CONFIGS)/eval/$(BENCH).yaml" --stage.dir "$(RUNS)/eval/$(BENCH)/$(eval_name)" \
		--model.init_from "$(eval_model)" $(seed)$(if $(DATA), --data.path "$(DATA)")$(eval_template); \
	status=0; "$(BIN)/python" -m r1lit.freshness "$$@" || status=$$?; \
	case $$status in 0) ;; 1) "$(BIN)/r1lit" "$$@" ;; *) exit $$status ;; esac

eval_stages = $(foreach stage,rl2 sft2 rl1 coldstart zero base,$(wildcard $(run_dir)/$(stage)/model))
eval_model = $(or $(MODEL),$(firstword $(eval_stages)))
eval_stage = $(notdir $(patsubst %/model,%,$(eval_model)))
eval_name = $(subst /,-,$(subst :,-,$(patsubst $(RUNS)/%,%,$(patsubst %/model,%,$(eval_model)))))
eval_template = $(if $(filter tiny,$(BENCH)),$(if $(filter base zero,$(eval_stage)),, --model.policy.template chat))

report: venv-stage ## report.html and summary.json: the paper's claims beside what was measured, of all seeds that were run
	@"$(BIN)/r1lit" report "$(run_dir)"

stages: venv-stage ## the stage table, mean and range over all seeds that were run
	@"$(BIN)/python" -m r1lit.report.stages $(wildcard $(RUNS)/$(PROFILE) $(RUNS)/$(PROFILE)-seed?)

# Tokenizer and newborn models first; the results lie in RUNS/tiny/{base,student}-train/model and replace nothing.
base: venv-stage ## train the tiny world's base and student again (about half an hour; the package ships both)
	@test -f "$(RUNS)/tiny/newborn/config.json" || "$(BIN)/python" -m r1lit.tiny_world.seed_model "$(RUNS)/tiny/newborn"
	@test -f "$(RUNS)/tiny/newborn-student/config.json" || \
		"$(BIN)/python" -m r1lit.tiny_world.seed_model "$(RUNS)/tiny/newborn-student" --hidden 64 --layers 3
	$(call pretrain,base,newborn)
	$(call pretrain,student,newborn-student)

pretrain = $(call run-stage,fit,base-train,$(RUNS)/tiny/$(1)-train,--model.init_from "$(RUNS)/tiny/$(2)" --data.tokenizer "$(RUNS)/tiny/$(2)")

venv-stage: check-profile
	$(call install,$(if $(filter tiny smollm2,$(PROFILE)),$(filter smollm2,$(PROFILE)),hub))

check-profile:
	@test -d "$(CONFIGS)/$(PROFILE)" || { \
		echo "make: there is no $(CONFIGS)/$(PROFILE); PROFILE is one of: $(notdir $(patsubst %/,%,$(filter-out $(addprefix $(CONFIGS)/,strategy/ eval/ distill/),$(wildcard $(CONFIGS)/*/))))" >&2; \
		exit 2; }
	@test -z "$(DATA)" || test -z "$(filter-out zero eval,$(MAKECMDGOALS))" || { \
		echo "make: DATA is for zero and eval; name the data of other stages in a copy of CONFIGS/PROFILE" >&2; exit 2; }
	@test -z "$(DATA)" || test -n "$(filter eval,$(MAKECMDGOALS))" || test -f "$(CONFIGS)/$(PROFILE)/data.yaml" || { \
		echo "make: there is no $(CONFIGS)/$(PROFILE)/data.yaml, so PROFILE=$(PROFILE) takes no DATA" >&2; exit 2; }

# Before hours of training, not after them.
recipe := base zero coldstart-data coldstart rl1 rl1-no-language reject sft2 rewards-helpful rewards-safety rl2 few-shot \
	distill distill-zero distill-zero-time distill-rl
check-recipe: check-profile
	@for stage in $(recipe); do test -f "$(CONFIGS)/$(PROFILE)/$$stage.yaml" || missing="$$missing $$stage"; done; \
	test -z "$$missing" || { echo "make: $(CONFIGS)/$(PROFILE) has no configuration of:$$missing" >&2; exit 2; }

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
