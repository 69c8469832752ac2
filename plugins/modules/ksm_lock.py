#!/usr/bin/python
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ansible module: a lock that is made at one stroke, for plays that must exclude each other."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ksm_lock
short_description: Hold a lock while a rollout changes the fleet
version_added: 0.1.0
description:
  - Makes a file that tells who holds the lock, and fails when somebody else holds it. Delegate it to
    one host of the fleet, so that playbooks that run anywhere exclude each other.
options:
  state:
    description: V(held) takes the lock, V(free) gives up the one that O(token) names.
    type: str
    choices: [held, free]
    default: held
  path:
    description: The file.
    type: path
    default: /var/lib/ksm-fleet/rollout.lock
  owner:
    description: Who takes it, for people.
    type: str
    default: somebody
  purpose:
    description: What for, for people.
    type: str
    default: a rollout
  token:
    description:
      - With V(free), the token that taking it returned. A lock that another one holds stays.
    type: str
  break_token:
    description:
      - With V(held), the token of a lock to break, as the failure to take it told it. Only that very
        lock is broken.
    type: str
    default: ""
attributes:
  check_mode:
    description: Looks whether the lock could be had.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
seealso:
  - module: ksm.fleet.ksm_rollout
author:
  - The ksm-fleet developers (@ksm-fleet)
"""

EXAMPLES = r"""
- name: Exclude other rollouts
  ksm.fleet.ksm_lock:
    owner: alice@control
  delegate_to: web1
  run_once: true
  register: lock

- name: Let others have it
  ksm.fleet.ksm_lock:
    state: free
    token: "{{ lock.token }}"
  delegate_to: web1
  run_once: true
"""

RETURN = r"""
token:
  description: What gives the lock up.
  returned: with O(state=held)
  type: str
  sample: 5f3a9c1e
"""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ksm.fleet.plugins.module_utils import persistence, rollout_record


class Lock:
    """The file *path*."""

    def __init__(self, path: str) -> None:
        self.path = path

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Nobody else looks and acts in between."""
        os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
        fd = os.open(f"{self.path}.guard", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def holder(self) -> dict[str, str] | None:
        """Return who holds it, None when nobody does."""
        if not os.path.exists(self.path):
            return None
        return json.loads(persistence.read(self.path))

    def make(self, holder: dict[str, str]) -> bool:
        """Take it, unless it is taken."""
        folder = os.path.dirname(self.path)
        os.makedirs(folder, mode=0o755, exist_ok=True)
        whole = f"{self.path}.{holder['token']}"
        with open(whole, "w", encoding="utf-8") as stream:
            json.dump(holder, stream)
            # After a power cut an empty lock would be nobody's.
            stream.flush()
            os.fsync(stream.fileno())
        try:
            # Unlike a rename, a link never replaces, and it brings its contents along.
            os.link(whole, self.path)
        except FileExistsError:
            return False
        finally:
            os.unlink(whole)
        return True

    def remove(self) -> None:
        os.unlink(self.path)


def hold(module: AnsibleModule, lock: Lock) -> dict[str, Any]:
    params = module.params
    mine = {
        "token": secrets.token_hex(4),
        "owner": params["owner"],
        "purpose": params["purpose"],
        "since": rollout_record.now(),
    }
    other = lock.holder()
    if other and params["break_token"] == other["token"]:
        if not module.check_mode:
            lock.remove()
        other = None
    if other is None and (module.check_mode or lock.make(mine)):
        return {"changed": True, "token": mine["token"]}
    other = other or lock.holder() or mine
    return module.fail_json(
        msg=f"{other['owner']} holds {lock.path} since {other['since']}, for {other['purpose']}."
        " Remedy: wait until that has ended. If it was killed and runs no more, break its lock with"
        f" -e ksm_break_lock={other['token']}",
        holder=other,
    )


def free(module: AnsibleModule, lock: Lock) -> dict[str, Any]:
    holder = lock.holder()
    ours = holder is not None and holder["token"] == module.params["token"]
    if ours and not module.check_mode:
        lock.remove()
    return {"changed": ours}


def build_module() -> AnsibleModule:
    return AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["held", "free"], "default": "held"},
            "path": {"type": "path", "default": "/var/lib/ksm-fleet/rollout.lock"},
            "owner": {"type": "str", "default": "somebody"},
            "purpose": {"type": "str", "default": "a rollout"},
            # What gives the lock up is no secret of anybody.
            "token": {"type": "str", "no_log": False},
            "break_token": {"type": "str", "default": "", "no_log": False},
        },
        required_if=[("state", "free", ("token",))],
        supports_check_mode=True,
    )


def main() -> None:
    module = build_module()
    lock = Lock(module.params["path"])
    act = hold if module.params["state"] == "held" else free
    try:
        with contextlib.nullcontext() if module.check_mode else lock.guarded():
            result = act(module, lock)
    except (OSError, ValueError, KeyError) as error:
        module.fail_json(
            msg=f"the lock {lock.path} cannot be read or written: {error!r}."
            " Remedy: look at that file and, if no rollout is under way, remove it"
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
