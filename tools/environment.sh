# Sourced by tools/demo and tools/test: `prepare [EXTRA]` makes .venv and installs the project, with that extra.
prepare() {
  local python=${PYTHON:-python3} extra=${1-}
  local stamp=.venv/.installed-${extra:-plain}
  if [ ! -x .venv/bin/python ]; then
    "$python" -m venv .venv
  fi
  # Again only when what is to be installed has changed; the sources themselves are read in place.
  if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ]; then
    echo "installing into .venv (once)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${extra:+[$extra]}"
    touch "$stamp"
  fi
}
