.DEFAULT_GOAL := help
.PHONY: help install build test mutants demo bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 18

# A linked node_modules belongs to another checkout, and npm ci would empty it.
node_modules/.package-lock.json: package-lock.json
	@if [ -L node_modules ]; then echo 'node_modules is a link: left alone'; else npm ci && touch $@; fi

install: node_modules/.package-lock.json ## install the packages (only when package-lock.json is newer)

build: install ## compile src/ to dist/
	@npm run --silent build

test: install ## typecheck, lint, dependency rule, unused code, tests
	@npm test --silent

mutants: install ## how many hand-made faults the tests notice, by Stryker; FILES=<files> TESTS=<tests> for some (hours for all)
	@TESTS="$(TESTS)" node scripts/mutants.mjs $(FILES)

demo: install ## compress LeNet-5 on MNIST by a schedule and show the table
	@npm run --silent demo

bench: build ## compare with other quantizers on DATA=<folder> (an hour; never part of the tests)
	@[ -n "$(DATA)" ] || { echo 'usage: make bench DATA=<folder with models/ and data/>; see bench/peers/README.md'; exit 2; }
	@node bench/peers/run.mjs --data "$(DATA)"

clean: ## remove what was built
	rm -rf dist coverage runs .stryker
