# SPDX-License-Identifier: GPL-2.0-or-later
"""Filter: what an error of apt or dnf means, and what to do about it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: package_failure
short_description: Tell the cause and the remedy of an error of apt or dnf
version_added: 0.1.0
description:
  - Finds the cause in what the package manager said, in the words of apt 2 and 3 and of dnf 4.
options:
  _input:
    description: What the package manager said.
    type: str
    required: true
  url:
    description: URL of the repository that was added.
    type: str
    default: ""
  manager:
    description: The package manager.
    type: str
    choices: [apt, dnf]
    default: apt
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: Fail with the remedy
  ansible.builtin.fail:
    msg: "{{ ansible_failed_result.msg | ksm.fleet.package_failure(manager='dnf') }}"
"""

RETURN = r"""
_value:
  description: Cause, remedy and the words of the package manager.
  type: str
"""

import re
from typing import Any, Callable

# The first that is found is told.
CAUSES = (
    (
        r"NO_PUBKEY|is not signed|BADSIG|EXPKEYSIG|REVKEYSIG|KEYEXPIRED|/usr/bin/sqv"
        r"|signature verification|signatures? (couldn't|were) "
        r"|GPG verification is enabled|GPG signature|[Pp]ublic key .* not installed",
        "the signature of the package repository is not trusted",
        "give in ksm_repository_key the key that signs {url} (.asc when it is armoured, .gpg when"
        " it is binary), and see that it has not expired",
    ),
    (
        r"No package matching '(?P<what>linux-headers-[^']+)'"
        r"|(?:Unable to locate|No) package (?P<which>(?:linux-headers|kernel-devel)-\S+)",
        "the headers of the running kernel cannot be had: no package source of this host offers {what}",
        "reboot into a kernel whose headers the host's package sources offer, or add the source"
        " that offers them, or set ksm_engine to kernel on this host",
    ),
    (
        r"No package matching '(?P<what>[^']+)'"
        r"|(?:Unable to locate|No) package (?P<which>\S+)",
        "no package source of this host offers {what}",
        "check ksm_repository_url ({url}), ksm_repository_suite and ksm_repository_components",
    ),
    (
        r"nothing provides (?P<what>.+?) needed by (?P<which>\S+)",
        "the packages of the repository are not for this distribution: nothing offers {what}",
        "check that ksm_repository_url ({url}) is for this release of the distribution",
    ),
    (
        r"Could not connect|Could not resolve|Connection (refused|timed out)|Unable to connect"
        r"|404 +Not Found|does not have a Release|no longer has a Release|File not found"
        r"|Failed to download metadata|Cannot download|Curl error|Status code: 4",
        "a package source cannot be reached",
        "check ksm_repository_url ({url}) and the host's own package sources",
    ),
    (
        r"[Cc]ould not get lock|Failed to lock|dpkg frontend lock",
        "another program holds the package manager's lock",
        "wait until it has ended, and run the play again",
    ),
    (
        r"enough free space|No space left on device",
        "the file system is full",
        "make room below /var and /usr",
    ),
)
UNKNOWN = "the packages could not be installed"
REMEDY = {
    "apt": "run apt-get -f install on the host and mend what it names",
    "dnf": "run dnf install by hand on the host and mend what it names",
}


def package_failure(text: str, url: str = "", manager: str = "apt") -> str:
    """Return cause, remedy and the words of the package manager."""
    cause, remedy, what = UNKNOWN, REMEDY[manager], ""
    for pattern, known_cause, known_remedy in CAUSES:
        found = re.search(pattern, text)
        if found:
            cause, remedy = known_cause, known_remedy
            groups = found.groupdict()
            what = groups.get("what") or groups.get("which") or ""
            break
    words = {"what": what, "url": url or "the repository"}
    return f"{cause.format(**words)}. Remedy: {remedy.format(**words)}. {manager} said: {text.strip()}"


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"package_failure": package_failure}
