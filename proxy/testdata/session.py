"""A session of Debian's hvac with the Vault at VAULT_ADDR; one line for each answer."""
import json
import os

import hvac

client = hvac.Client(url=os.environ["VAULT_ADDR"], token=os.environ["VAULT_TOKEN"])


def show(name, call):
    try:
        answer = call()
    except hvac.exceptions.VaultError as e:
        answer = type(e).__name__ + " " + str(e.errors if hasattr(e, "errors") else e)
    if hasattr(answer, "status_code"):
        answer = answer.status_code
    print(name, json.dumps(answer, sort_keys=True))


kv2, kv1 = client.secrets.kv.v2, client.secrets.kv.v1
show("write", lambda: kv2.create_or_update_secret("py", {"a": "1", "ü": "ß", "n": 12345678901}))
for _ in range(3):
    show("read", lambda: kv2.read_secret_version("py"))
show("patch", lambda: kv2.patch("py", {"b": "2"}))
show("read", lambda: kv2.read_secret_version("py"))
show("version 1", lambda: kv2.read_secret_version("py", version=1))
show("list", lambda: kv2.list_secrets(""))
show("metadata", lambda: kv2.read_secret_metadata("py"))
show("delete", lambda: kv2.delete_latest_version_of_secret("py"))
show("read", lambda: kv2.read_secret_version("py"))
show("undelete", lambda: kv2.undelete_secret_versions("py", [2]))
show("read", lambda: kv2.read_secret_version("py"))
show("missing", lambda: kv2.read_secret_version("nowhere"))
show("write 1", lambda: kv1.create_or_update_secret("py", {"k": "v"}, mount_point="kv1"))
for _ in range(3):
    show("read 1", lambda: kv1.read_secret("py", mount_point="kv1"))
show("delete 1", lambda: kv1.delete_secret("py", mount_point="kv1"))
show("gone 1", lambda: kv1.read_secret("py", mount_point="kv1"))
show("mounts", lambda: sorted(client.sys.list_mounted_secrets_engines()["data"]))
show("policy", lambda: client.sys.create_or_update_policy("py", 'path "secret/*" { capabilities = ["read"] }'))
show("policies", lambda: client.sys.list_policies()["data"])
show("self", lambda: client.lookup_token()["data"]["policies"])
show("health", lambda: client.sys.read_health_status(method="GET")["sealed"])
wrapped = client.write("sys/wrapping/wrap", wrap_ttl="60s", x="y")
show("unwrap", lambda: client.unwrap(wrapped["wrap_info"]["token"])["data"])
show("unwrap again", lambda: client.unwrap(wrapped["wrap_info"]["token"]))
