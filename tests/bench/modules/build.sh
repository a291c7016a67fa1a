#!/bin/sh
# Builds integer.wasm and float.wasm with the C compiler in PyPI's `ziglang`: pip install ziglang==0.17.1
set -eu
here=$(cd "$(dirname "$0")" && pwd)
for name in integer float; do
    "${PYTHON:-python3}" -m ziglang cc -target wasm32-wasi -O2 -s -Wall -Wextra -Werror -Wl,-z,stack-size=65536 \
        -o "$here/$name.wasm" "$here/$name.c"
done
