# SPDX-License-Identifier: Apache-2.0
# Every command does its own set-up and may be run first. `make help` lists them.

SHELL := /bin/bash
SILICA := .build/release/silica
DEMO_MODEL := Models/mini
KERNELS := .build/release/silica-kernels.fatbin

.PHONY: help demo test serve bench bench-model bench-rpc quality train proto kernels gpu-bundle goldens release format build

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: build ## build, serve the bundled model, talk with it, stream several generations, stop
	@Tools/demo.sh $(SILICA) $(DEMO_MODEL)

test: ## the whole test suite
	@Tools/setup.sh test
	@Tools/proto.sh --check
	swift build -c release --build-tests
	@Tools/test.sh

serve: build ## serve a checkpoint: make serve MODEL=DIR [ARGS="--listen 0.0.0.0:50051"]
	@test -n "$(MODEL)" || { echo 'usage: make serve MODEL=DIR [ARGS="..."]' >&2; exit 2; }
	$(SILICA) serve --model "$(MODEL)" $(ARGS)

bench: build ## Silica against llama.cpp on random weights (long; 13 GB): tables, JSON, plots
	@Tools/setup.sh bench-llama
	@.venv/bin/python Benchmarks/llama/run.py $(SILICA) $(ARGS)

bench-model: build ## measure a model: make bench-model MODEL=DIR: a table, JSON and a plot
	@python3 Benchmarks/bench.py $(SILICA) $(or $(MODEL),$(DEMO_MODEL)) $(ARGS)

bench-rpc: build ## the door against a C++ callback server: a table, JSON and a plot in Benchmarks/results
	@Tools/setup.sh bench
	@python3 Benchmarks/rpc/run.py $(SILICA) $(ARGS)

quality: build ## what each precision costs the bundled model: writes Docs/quality.md (ten minutes)
	@Tools/setup.sh quality
	@.venv/bin/python Benchmarks/quality/run.py $(SILICA) $(ARGS)

train: ## train the bundled model again, into Models/mini (two hours on two cores)
	@Tools/setup.sh oracle
	@.venv/bin/python Tools/mini/train.py
	@.venv/bin/python Tools/mini/train.py --go-on --mix long --steps 300 --rate 0.5 --seed 20241228
	@.venv/bin/python Tools/mini/train.py --go-on --mix long --steps 250 --rate 0.2 --seed 20241230
	@.venv/bin/python Tools/mini/card.py

proto: ## regenerate the protobuf bindings
	@Tools/setup.sh test
	@Tools/proto.sh

kernels: ## compile the GPU's kernels, to beside the binary (nvcc, 300 MB into .venv)
	@Tools/setup.sh kernels
	@.venv/bin/python Tools/kernels.py $(KERNELS) $(ARGS)

gpu-bundle: ## a folder for a machine with an NVIDIA GPU: ./verify and ./bench in dist/silica-gpu
	@Tools/setup.sh build
	@Tools/setup.sh kernels
	@Tools/gpu_bundle.sh

goldens: ## make the stored goldens again, with transformers and tokenizers
	@Tools/setup.sh oracle
	@Tools/oracle/make_all.sh

release: build ## a relocatable tarball in dist/
	@Tools/release.sh

format: ## format the Swift sources
	git ls-files '*.swift' | grep -v /Generated/ | xargs swift format --in-place

build:
	@Tools/setup.sh build
	swift build -c release --product silica
