#!/bin/sh
# usage: scripts/venv.sh LOCK [FOLDER]
# Makes FOLDER (.venv) with the system's Python and installs LOCK into it, unless that very LOCK is
# installed already. Safe to interrupt and to repeat. PYTHON=… chooses the interpreter.
set -eu

lock=$1
folder=${2:-.venv}
stamp=$folder/installed-$(basename "$lock")
py=$folder/bin/python
uv_version=0.13.8

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed, and ${PYTHON:-none on the PATH} is that; PYTHON=… names one"
}

make_venv() {
    python=$(find_python)
    echo "making $folder with $("$python" --version)"
    "$python" -m venv "$folder" >/dev/null 2>&1 && return
    rm -rf "$folder"
    fail "$python cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"
}

pip_install() {
    "$py" -m pip install --quiet --disable-pip-version-check --no-input "$@"
}

# uv resolves and unpacks a lock in a fraction of pip's time. It is fetched first, by pip, where
# the machine has none; where there is no uv for the machine, pip does it all.
install() {
    if command -v uv >/dev/null 2>&1; then
        uv pip install --quiet --python "$py" -r "$lock"
        return
    fi
    # Making the environment may have been broken off before pip came.
    "$py" -m pip --version >/dev/null 2>&1 || "$py" -m ensurepip >/dev/null
    if "$py" -m uv --version >/dev/null 2>&1 || bring_uv; then
        "$py" -m uv pip install --quiet --python "$py" -r "$lock"
    else
        pip_install -r "$lock"
    fi
}

bring_uv() {
    pip_install --only-binary :all: "uv==$uv_version" 2>/dev/null
}

if ! "$py" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    # Absent, half made, or its Python has gone.
    rm -rf "$folder"
    make_venv
fi
if ! cmp -s "$lock" "$stamp"; then
    echo "installing $lock into $folder; the first time takes a minute"
    rm -f "$stamp"
    install || fail "installing $lock failed; see above"
    cp "$lock" "$stamp"
fi
