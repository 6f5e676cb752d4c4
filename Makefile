.DEFAULT_GOAL := help
.PHONY: help install build test pack tarball mutants demo bench clean schema docs quantize eval analyze sensitivity compare report

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 20

# A linked node_modules belongs to another checkout, and npm ci would empty it.
node_modules/.package-lock.json: package-lock.json
	@if [ -L node_modules ]; then echo 'node_modules is a link: left alone'; else npm ci && touch $@; fi

install: node_modules/.package-lock.json ## install the packages (only when package-lock.json is newer)

build: install ## compile src/ to dist/
	@npm run --silent build

test: install ## typecheck, lint, dependency rule, unused code, tests
	@npm test --silent

pack: install ## build qtool and pack it for others: qtool-<version>.tgz
	@npm run --silent pack

tarball: install ## pack qtool, install it in an empty folder, and try it there (minutes; needs npm's registry)
	@npm run --silent tarball

mutants: install ## how many hand-made faults the tests notice, by Stryker; FILES=<files> TESTS=<tests> for some (hours for all)
	@TESTS="$(TESTS)" node scripts/mutants.mjs $(FILES)

demo: install ## compress LeNet-5 on MNIST by a schedule and show the table
	@npm run --silent demo

bench: build ## compare with other quantizers on DATA=<folder> (an hour; never part of the tests)
	@[ -n "$(DATA)" ] || { echo 'usage: make bench DATA=<folder with models/ and data/>; see bench/peers/README.md'; exit 2; }
	@node bench/peers/run.mjs --data "$(DATA)"

schema: install ## write configs/schedule.schema.json and configs/schemas/ anew
	@npm run --silent schema

docs: install ## write the pages of the library's functions and types to docs/api/, by typedoc
	@npm run --silent docs

# The commands of qtool for other people's Makefiles: make -C <qtool> quantize MODEL=… . Paths start where make was called, or from
# FROM=<folder>, which a Makefile that calls this one gives as FROM=$(CURDIR). ARGS= are further options.
FROM ?= $(or $(PWD),$(CURDIR))
# Built when it is older than its source, once the variables are known to be there.
QTOOL = $(MAKE) -s --no-print-directory dist/cli/main.js && cd "$(FROM)" && "$(CURDIR)/bin/qtool"
# $(call needs,NAMES,usage): ends with the usage where one of the variables is empty.
needs = @$(if $(strip $(foreach name,$(1),$(if $($(name)),,x))),echo 'usage: make $@ $(2) [FROM=<folder>] [ARGS=<options>]'; exit 2,:)

dist/cli/main.js: node_modules/.package-lock.json $(shell find src -name '*.ts')
	@npm run --silent build && touch $@

quantize: ## compress MODEL= by SCHEDULE= on DATA= into OUT=
	$(call needs,MODEL SCHEDULE DATA OUT,MODEL=<model.onnx> SCHEDULE=<file or name> DATA=<config or folder> OUT=<folder>)
	@$(QTOOL) quantize "$(MODEL)" --schedule "$(SCHEDULE)" --data "$(DATA)" -o "$(OUT)" $(ARGS)

eval: ## measure MODEL= on DATA=, beside REFERENCE= where it is given
	$(call needs,MODEL DATA,MODEL=<model.onnx> DATA=<config or folder> [REFERENCE=<float.onnx>])
	@$(QTOOL) eval "$(MODEL)" --data "$(DATA)" $(if $(REFERENCE),--reference "$(REFERENCE)") $(ARGS)

analyze: ## what quantization noise does in MODEL= on DATA=
	$(call needs,MODEL DATA,MODEL=<model.onnx> DATA=<config or folder>)
	@$(QTOOL) analyze "$(MODEL)" --data "$(DATA)" $(ARGS)

sensitivity: ## how much each layer of MODEL= bears on DATA=
	$(call needs,MODEL DATA,MODEL=<model.onnx> DATA=<config or folder> [OUT=<folder>])
	@$(QTOOL) sensitivity "$(MODEL)" --data "$(DATA)" $(if $(OUT),-o "$(OUT)") $(ARGS)

compare: ## compare MODEL= with REFERENCE= on DATA=
	$(call needs,MODEL REFERENCE DATA,REFERENCE=<first.onnx> MODEL=<second.onnx> DATA=<config or folder>)
	@$(QTOOL) compare "$(REFERENCE)" "$(MODEL)" --data "$(DATA)" $(ARGS)

report: ## the page of the runs in RUNS= again, or several runs on one page
	$(call needs,RUNS,RUNS="<folder> …")
	@$(QTOOL) report $(RUNS) $(ARGS)

clean: ## remove what was built
	rm -rf dist coverage runs .stryker
