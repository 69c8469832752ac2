# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# For the scripts that make packages.
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
me=$(realpath --relative-to="$tree" "$0")
# shellcheck disable=SC2034 # for signing.sh
cache=${KSM_CACHE:-$tree/.cache}
# The system's tools: a Python of pyenv or of a virtual environment would break a build.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
unset "${!PYTHON@}" VIRTUAL_ENV
umask 022

say() { echo "$me: $*" >&2; }

fail() {
	say "$@"
	exit 1
}

# need FILE:PACKAGE...: install the packages of those files that are missing; a name without a
# slash is a command.
need() {
	local item missing=()
	for item; do
		case ${item%%:*} in
		/*) [[ -e ${item%%:*} ]] ;;
		*) command -v "${item%%:*}" >/dev/null ;;
		esac || missing+=("${item#*:}")
	done
	((${#missing[@]})) || return 0
	[[ $(id -u) == 0 ]] || fail "tools are missing. Remedy, as root: apt-get install ${missing[*]}"
	say "apt-get install ${missing[*]}"
	apt-get -q update >&2
	apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=600 install "${missing[@]}" >&2
}

# The source of all packages is the tarball that debian/build makes of the tree: sets $source,
# $version and SOURCE_DATE_EPOCH.
find_source() {
	"$tree/debian/build" "$1"
	version=$(<"$tree/VERSION")
	source=$1/ksm-fleet_$version.tar.xz
	SOURCE_DATE_EPOCH=$(tar -xOf "$source" ksm-fleet/debian/changelog | dpkg-parsechangelog -l- -S Timestamp)
	export SOURCE_DATE_EPOCH
}

# up_to_date STAMP DIGEST: whether a build with that digest left all its files beside its stamp.
up_to_date() {
	local lines name
	[[ -e $1 ]] || return 1
	mapfile -t lines <"$1"
	[[ ${lines[0]} == "$2" ]] || return 1
	for name in "${lines[@]:1}"; do
		[[ -e ${1%/*}/$name ]] || return 1
	done
}

# publish BUILT STAMP DIGEST: move the files of a directory to where the stamp lies, and take away
# what an earlier build left there.
publish() {
	local name old=()
	[[ ! -e $2 ]] || mapfile -t -s 1 old <"$2"
	for name in "${old[@]}"; do
		[[ -e $1/$name ]] || rm -f "${2%/*}/$name"
	done
	(cd "$1" && printf '%s\n' "$3" *) >"$1.stamp"
	mv "$1"/* "${2%/*}/"
	mv "$1.stamp" "$2"
}
