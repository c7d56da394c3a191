#!/bin/sh
# Wheels as users get them: built from the source distribution, installed where nothing
# else is and no compiler can be found, and given the tests.
#
# `make wheel-test` calls it without arguments: for each Python of PYTHONS that is there,
# `make wheel`, then the tests. cibuildwheel calls `wheel.sh installed PYTHON`: the tests
# of this tree against the syslet_loop that PYTHON has installed.
set -eu
cd "$(dirname "$0")/.."
PYTHONS=${PYTHONS:-3.11 3.12 3.13}
COMPILERS='(cc|c\+\+|c89|c99|cpp|gcc|g\+\+|clang|clang\+\+|tcc|as|ld)'

# The tests away from the sources, so that no other syslet_loop is found. Left out: what
# is about the sources themselves, and the engine's tests, which compile a driver.
run_installed() {
    python=$1
    away=$(mktemp -d)
    cp -r tests examples benchmarks docs native README.md CONTRIBUTING.md CHANGELOG.md "$away"
    cp pyproject.toml "$away"
    find "$away" -name '*.so' -exec rm {} +
    cd "$away"
    "$python" -c 'import syslet_loop; print(syslet_loop.__file__)' | grep site-packages
    "$python" -m pytest -q -p no:cacheprovider --ignore tests/engine \
        --ignore tests/test_tidy.py --ignore tests/test_package.py --ignore tests/soak
    cd - >/dev/null
    rm -rf "$away"
}

# A folder with every command but the compilers.
make_path() {
    mkdir -p "$1"
    for command in /usr/local/bin/* /usr/bin/* /bin/* /usr/sbin/* /sbin/*; do
        name=$(basename "$command")
        if ! echo "$name" | grep -Eq "^(.*-)?$COMPILERS(-[0-9.]+)?$"; then
            ln -sf "$command" "$1/$name"
        fi
    done
}

# The interpreter of a version: on PATH, or pyenv's.
find_python() {
    for python in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        if "$python" -c 'import venv' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
}

# What type checkers say to a program that uses the installed package.
check_types() {
    env=$1
    cp tests/typed_program.py "$env"
    (cd "$env" && bin/python -m mypy --strict typed_program.py)
    (cd "$env" && PATH="$env/bin:$PATH" bin/python -m pyright --pythonpath bin/python \
        typed_program.py)
}

test_version() {
    version=$1 python=$2 work=$PWD/build/wheel-test/$1
    tag=cp$(echo "$version" | tr -d .)
    rm -rf "$work" dist/*"-$tag-$tag-"*
    make wheel PYTHON="$python" VENV="$work/make"
    make_path "$work/path"
    "$python" -m venv "$work/env"
    pip="$work/env/bin/python -m pip install --quiet --disable-pip-version-check"
    wheel=$(echo dist/*"-$tag-$tag-"*.whl)
    # No compiler, and nothing that would need one.
    PATH="$work/env/bin:$work/path" $pip --only-binary :all: "$wheel[demo,test]"
    # A shell of its own: `set -e` does not reach into a condition.
    PATH="$work/env/bin:$work/path" sh tests/wheel.sh installed "$work/env/bin/python"
    $pip mypy "pyright[nodejs]"
    check_types "$work/env"
    echo "$wheel: installed without a compiler, tested, types accepted"
}

if [ "${1:-}" = installed ]; then
    run_installed "$2"
    exit
fi
found=
for version in $PYTHONS; do
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        echo "left out: there is no Python $version"
        continue
    fi
    test_version "$version" "$python"
    found=yes
done
test -n "$found"
