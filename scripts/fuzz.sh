#!/usr/bin/env bash
# Builds the fuzz targets and runs each for FUZZ_SECONDS (default 60); with names, only those. Stops at the first find,
# and shows how to see it again. What widens the coverage stays under fuzz/target, and is where the next run goes on.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly seconds=${FUZZ_SECONDS:-60}
readonly cargo=${CARGO:-cargo}

say() { printf 'fuzz: %s\n' "$*" >&2; }

# What cargo-fuzz hands to a nightly compiler, less the sanitizer of addresses: the library has hardly any unsafe code.
flags=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    -Ccodegen-units=1
    --cfg fuzzing
)

host=$(rustc -vV | sed -n 's/^host: //p')
readonly host

# With a target named, the flags are not for build scripts and macros, which run without libFuzzer.
build() {
    RUSTFLAGS="${flags[*]}" "$cargo" build --release --locked --target "$host" --target-dir fuzz/target \
        --manifest-path fuzz/Cargo.toml
}

# The longest input of a target, in bytes: enough for one of everything.
max_len() { # target
    case $1 in
        decode) echo 4096 ;;
        *) echo 2048 ;;
    esac
}

fuzz() { # target
    local target=$1
    local program=fuzz/target/$host/release/$target
    local found=fuzz/target/corpus/$target finds=fuzz/target/finds/$target log=fuzz/target/$target.log
    local options=(-timeout=10 -rss_limit_mb=2048 "-max_len=$(max_len "$target")")
    local dictionary=fuzz/dictionaries/$target.dict
    [[ -f $dictionary ]] && options+=("-dict=$dictionary")
    mkdir -p "$found" "$finds"

    say "$target for $seconds s; its log is $log"
    # libFuzzer writes to the first folder and only reads the second.
    if ! "$program" "$found" "fuzz/corpus/$target" "${options[@]}" "-artifact_prefix=$finds/" \
        "-max_total_time=$seconds" -print_final_stats=1 >"$log" 2>&1; then
        report "$target" "$program" "$log"
        return 1
    fi
    summary "$target" "$log"
}

report() { # target, program, log
    local input
    input=$(sed -n 's/.*Test unit written to //p' "$3" | tail -n 1)
    grep -v -e '^#' -e '^INFO:' "$3" | tail -n 60 >&2
    if [[ -z $input ]]; then
        say "$1 failed without an input: see $3"
        return
    fi
    say "$1 found something. To see it again: $2 $input"
    say "once it is mended, keep it: cp $input fuzz/corpus/$1/"
}

summary() { # target, log
    local runs coverage inputs
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$2")
    coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$2" | tail -n 1)
    inputs=$(sed -n 's/.* corp: \([0-9]*\).*/\1/p' "$2" | tail -n 1)
    printf '%-14s %12s runs %8s edges covered %6s inputs\n' "$1" "$runs" "$coverage" "$inputs"
}

targets=("$@")
if [[ ${#targets[@]} -eq 0 ]]; then
    for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

build
for target in "${targets[@]}"; do
    [[ -x fuzz/target/$host/release/$target && -d fuzz/corpus/$target ]] || { say "no target $target"; exit 2; }
done
summaries=()
for target in "${targets[@]}"; do
    line=$(fuzz "$target")
    summaries+=("$line")
done
printf '%s\n' "${summaries[@]}"
