#!/bin/sh
# Builds hello.wasm from hello.c with the C compiler in PyPI's `ziglang`: pip install ziglang==0.17.1
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "${PYTHON:-python3}" -m ziglang cc -target wasm32-wasi -Oz -s -Wall -Wextra -Werror -Wl,-z,stack-size=65536 \
    -o "$here/hello.wasm" "$here/hello.c"
