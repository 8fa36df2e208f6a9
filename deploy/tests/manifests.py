"""Holds the manifests to what they promise. Exit status 1 and a line for each promise that is broken.

  manifests.py CNI_PLUGIN     the plugin's binary, which must accept the configurations of the attachment definitions
"""

import copy
import json
import os
import pathlib
import subprocess
import sys

import kubernetes_validate
import yaml

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
MANIFESTS = sorted((DEPLOY / "kubernetes").rglob("*.yaml"))
wrong = []


def hold(promise, kept):
    if not kept:
        wrong.append(promise)


def documents():
    for path in MANIFESTS:
        for document in yaml.safe_load_all(path.read_text()):
            name = f"{path.relative_to(DEPLOY)}: {document['kind']} {document['metadata']['name']}"
            yield name, document


def pod_spec(document):
    if document["kind"] == "Pod":
        return document["spec"]
    return document.get("spec", {}).get("template", {}).get("spec")


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


def not_restricted(spec):
    """What Pod Security's level "restricted" (Kubernetes 1.25 and newer) has against a pod, rule by rule."""
    faults = []
    context = spec.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            faults.append(key)
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for volume in spec.get("volumes", []):
        faults += [f"volume {kind}" for kind in volume.keys() - {"name"} - allowed]
    if context.get("sysctls"):
        faults.append("sysctls")
    for container in containers(spec):
        own = container.get("securityContext", {})
        of = lambda key: own.get(key, context.get(key))
        name = container["name"]
        capabilities = own.get("capabilities", {})
        if own.get("privileged"):
            faults.append(f"{name} is privileged")
        if own.get("allowPrivilegeEscalation") is not False:
            faults.append(f"{name} may escalate")
        if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            faults.append(f"{name} has capabilities")
        if of("runAsNonRoot") is not True or of("runAsUser") == 0:
            faults.append(f"{name} may be root")
        if (of("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
            faults.append(f"{name} has no seccomp profile")
        if own.get("procMount", "Default") != "Default":
            faults.append(f"{name} has an unmasked /proc")
        if any(port.get("hostPort") for port in container.get("ports", [])):
            faults.append(f"{name} has a host port")
    return faults


def guaranteed(spec):
    for container in containers(spec):
        resources = container.get("resources", {})
        if resources.get("requests") != resources.get("limits"):
            return False
        if not {"cpu", "memory"} <= resources.get("limits", {}).keys():
            return False
    return True


def negative_control(pod):
    """The check above must see each of these."""
    changes = [
        lambda spec: spec["containers"][0]["securityContext"].update(allowPrivilegeEscalation=True),
        lambda spec: spec["containers"][0]["securityContext"]["capabilities"].update(add=["NET_RAW"]),
        lambda spec: spec["securityContext"].pop("runAsNonRoot"),
        lambda spec: spec["securityContext"].pop("seccompProfile"),
        lambda spec: spec["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        lambda spec: spec.update(hostPID=True),
    ]
    for number, change in enumerate(changes):
        worse = copy.deepcopy(pod)
        change(worse)
        hold(f"the check for \"restricted\" sees change {number}", not_restricted(worse))


def accepted(plugin, name, config):
    """No daemon answers at the socket: a configuration that is good gets as far as that (code 11)."""
    config = {**config, "socket": "/nonexistent/api.sock", "runtimeConfig": {"deviceID": "n0-0001"}}
    config.pop("ipam", None)
    netns = f"manifests-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", netns], check=True)
    try:
        environment = {
            "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": f"/run/netns/{netns}", "CNI_IFNAME": "net1",
            "CNI_PATH": "/usr/lib/cni",
        }
        ran = subprocess.run([plugin], input=json.dumps(config), capture_output=True, text=True, env=environment)
        hold(f"{name}: the plugin accepts its configuration ({ran.stdout.strip()})", json.loads(ran.stdout)["code"] == 11)
    finally:
        subprocess.run(["ip", "netns", "delete", netns], check=True)


def switch(name, spec):
    container = next(c for c in spec["containers"] if c["name"] == "podswitchd")
    cpus = container["resources"]["limits"]["cpu"]
    hold(f"{name}: whole CPUs", cpus.isdigit())
    workers = next(arg for arg in container["args"] if arg.startswith("auto:"))
    hold(f"{name}: one CPU is left beside the workers", int(workers.removeprefix("auto:")) == int(cpus) - 1)
    hold(f"{name}: it is ready when it answers", "readinessProbe" in container)
    hold(f"{name}: nothing kills it for being slow", not any("livenessProbe" in c for c in containers(spec)))
    listed = [line for line in (DEPLOY / "capabilities").read_text().split("\n") if line and not line.startswith("#")]
    granted = container["securityContext"]["capabilities"]["add"]
    hold(f"{name}: the capabilities are those of deploy/capabilities", sorted(granted) == sorted(listed))
    unit = (DEPLOY / "podswitchd.service").read_text().split("CapabilityBoundingSet=")[1].split("\n")[0].split()
    hold("podswitchd.service: the same capabilities", sorted(unit) == sorted(f"CAP_{word}" for word in listed))


def main(plugin):
    definitions = 0
    for name, document in documents():
        if document["apiVersion"].startswith("k8s.cni.cncf.io/"):
            definitions += 1
            accepted(plugin, name, json.loads(document["spec"]["config"]))
            continue
        try:
            kubernetes_validate.validate(document, "1.37.0", strict=True)
        except kubernetes_validate.ValidationError as e:
            wrong.append(f"{name}: {e.message}")
        spec = pod_spec(document)
        if spec is None:
            continue
        hold(f"{name}: Guaranteed", guaranteed(spec))
        for container in containers(spec):
            hold(f"{name}: {container['name']} is not privileged", not container.get("securityContext", {}).get("privileged"))
        if document["kind"] == "DaemonSet":
            uninstall = document["metadata"]["name"].endswith("-uninstall")
            hold(f"{name}: system-node-critical", uninstall or spec.get("priorityClassName") == "system-node-critical")
        else:
            hold(f"{name}: restricted ({not_restricted(spec)})", not not_restricted(spec))
            negative_control(spec)
        if document["metadata"]["name"] == "podswitch" and document["kind"] == "DaemonSet":
            switch(name, spec)
    hold("there are attachment definitions", definitions >= 2)
    for promise in wrong:
        print(f"manifests: NOT SO: {promise}")
    print(f"manifests: {len(MANIFESTS)} files, {len(wrong)} promises broken")
    return 1 if wrong else 0


sys.exit(main(sys.argv[1]))
