#!/bin/sh
# Install this bundle into its own folder; run it again to mend or to upgrade.
#
#   install.sh                       make the environment beside this file, and prove that it works
#   install.sh --service [OPTIONS]   the same, and a systemd service of the user: --camera WHAT,
#                                    --cpus LIST (2,3), --nice N (-20 to 19; below 0 needs rights),
#                                    and after -- what detect.py --serve takes: -- --rotate 180
#   install.sh --uninstall           remove what was installed, and the service
#
# PYTHON names another Python. Exit codes: 0 good, 1 it does not find the same faces, 2 it cannot.
set -u
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 2
say() { printf 'install.sh: %s\n' "$*" >&2; }

case ${1-} in
  -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$here/install.sh"; exit 0 ;;
  '' | --service | --uninstall) ;;
  *) say "there is no option $1; see install.sh --help"; exit 2 ;;
esac
wanted=$(sed -n 's/^  "python": "\([0-9.]*\)",*$/\1/p' "$here/manifest.json" 2>/dev/null)
if [ -z "$wanted" ]; then
  say "$here/manifest.json is missing or damaged; unpack the bundle again"
  exit 2
fi
python=
for candidate in ${PYTHON:+"$PYTHON"} "python$wanted" python3; do
  found=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  if [ "$found" = "$wanted" ]; then python=$candidate; break; fi
  other="$candidate is $found"
done
if [ -z "$python" ]; then
  say "this bundle is for Python $wanted (${other-no python3 is here}); install python$wanted, or make it for yours: toolchain bundle --python ${found:-X.Y}"
  exit 2
fi
run() { program=$1; shift; "$python" -B -E -s "$here/$program" "$@"; }

case ${1-} in
  --uninstall) shift; run service.py --remove && run install.py --uninstall "$@" ;;
  --service) shift; run service.py --check "$@" && run install.py && run service.py "$@" ;;
  *) run install.py && run service.py --refresh ;;
esac
