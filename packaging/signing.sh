# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2154 # what common.sh and the scripts set
# For the scripts that make signed repositories; after common.sh.

# The key that signs: sets $key. It is the one that KSM_SIGNING_KEY names in the caller's own keyring,
# without a passphrase, else a throw-away key that is made once in $KSM_CACHE/gnupg.
# $scratch is a directory to work in.
find_key() {
	need gpg:gpg gpg-agent:gpg-agent
	if [[ -n ${KSM_SIGNING_KEY-} ]]; then
		key=$KSM_SIGNING_KEY
		gpg --batch --quiet --list-secret-keys "$key" >/dev/null ||
			fail "KSM_SIGNING_KEY=$key: no such secret key in ${GNUPGHOME:-$HOME/.gnupg}"
	else
		mkdir -p "$cache/gnupg"
		chmod 700 "$cache/gnupg"
		# By a short name: the agent's socket lies there, and its path may not exceed 108 bytes.
		ln -s "$(cd "$cache/gnupg" && pwd)" "$scratch/gnupg"
		export GNUPGHOME=$scratch/gnupg
		key='=ksm-fleet throw-away signing key'
		# RSA, which every rpm and every policy of EL takes.
		gpg --batch --quiet --list-secret-keys "$key" >/dev/null 2>&1 ||
			gpg --batch --quiet --pinentry-mode loopback --passphrase '' \
				--quick-generate-key "${key#=}" rsa3072 sign never
	fi
	key=$(gpg --batch --quiet --with-colons --list-secret-keys "$key" | awk -F: '$1 == "fpr" { print $10; exit }')
}

# What a repository's packages, its key and more words come to.
repository_digest() {
	local word
	{
		sha256sum "${packages[@]}" | cut -d' ' -f1
		for word in "$key" "$@"; do echo "$word"; done
	} | sha256sum | cut -d' ' -f1
}

# begin_repository DIRECTORY MARK: $new is a directory beside it to fill; MARK is a file that every
# repository has, and nothing else is replaced.
begin_repository() {
	repository=$(realpath -m "$1")
	if [[ -e $repository && ! -e $repository/$2 ]]; then
		fail "$repository exists and is no repository: not replaced. Remedy: remove it, or name another directory"
	fi
	mkdir -p "$(dirname "$repository")"
	scratch=$(mktemp -d)
	new=$(mktemp -d "$repository.XXXXXX")
	chmod 755 "$new"
	trap end EXIT
}

end() {
	[[ ${GNUPGHOME-} != "$scratch/gnupg" ]] || gpgconf --kill gpg-agent
	rm -rf "$scratch" "$new"
}

# finish_repository DIGEST: put it in its place.
finish_repository() {
	(cd "$new" && printf '%s\n' "$1" && find . -type f | sort) >"$scratch/stamp"
	mv "$scratch/stamp" "$new/.built-from"
	# Who fetches meanwhile misses it for a moment only.
	[[ ! -e $repository ]] || mv "$repository" "$new.old"
	mv "$new" "$repository"
	rm -rf "$new.old"
	echo "$repository"
}
