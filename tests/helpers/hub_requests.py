"""Requests of the loopback hub: create, upload, commit, tag, list and resolve."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import time
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote

from helpers.hub_store import Blob, Fault, Repo, is_large

LICENSES = {"apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-sa-4.0", "other"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Any  # the LoopbackHub

    def setup(self) -> None:
        super().setup()
        self.hub.sockets.add(self.connection)

    def finish(self) -> None:
        self.hub.sockets.discard(self.connection)
        super().finish()

    def log_message(self, *_) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    # Common to all requests.

    def _handle(self) -> None:
        self.path, _, self.query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        with self.hub.lock:
            self.hub.requests.append(f"{self.command} {unquote(self.path)}")
            fault = self._fault()
        if fault and fault.delay:
            time.sleep(fault.delay)
        if fault and fault.status:
            self._send(fault.status, {"error": "injected fault"}, fault.headers)
            return
        self._active_fault = fault
        for method, pattern, answer in _ROUTES:
            match = re.fullmatch(pattern, self.path)
            if match and method == ("GET" if self.command == "HEAD" else self.command):
                answer(self, body, **match.groupdict())
                return
        self._send(404, {"error": f"no such route: {self.command} {self.path}"})

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _handle

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _fault(self) -> Fault | None:
        for fault in self.hub.faults:
            if fault.times and fault.method == self.command and re.search(fault.pattern, unquote(self.path)):
                fault.times -= 1
                return fault
        return None

    def _send(self, status: int, body: object = b"", headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        all_headers = {"Content-Type": "application/json", "Content-Length": str(len(data))} | (headers or {})
        self.send_response(status)
        for name, value in all_headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        fault = getattr(self, "_active_fault", None)
        if fault and fault.truncate:
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.wfile.write(data)

    def _refuse(self, status: int, code: str, text: str, **headers: str) -> None:
        self._send(status, {"error": text}, {"X-Error-Code": code, "X-Error-Message": text, **headers})

    # User and repository of a request.

    def _names(self) -> list[str]:
        return self.hub.tokens.get((self.headers.get("Authorization") or "").removeprefix("Bearer "), [])

    def _repo(self, name: str) -> Repo | None:
        """Return the repository if it exists and may be read; otherwise send the refusal."""
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and name.split("/")[0] not in self._names()):
            self._refuse(404 if self._names() else 401, "RepoNotFound", "Repository not found")
            return None
        return repo

    def _may_write(self, name: str) -> bool:
        if name.split("/")[0] in self._names():
            return True
        self._send(403 if self._names() else 401, {"error": "You may not write here"})
        return False

    def _commit_of(self, repo: Repo, revision: str) -> str | None:
        commit = repo.resolve(revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {unquote(revision)}")
        return commit

    # The routes.

    def whoami(self, _body: bytes) -> None:
        names = self._names()
        if not names:
            self._send(401, {"error": "Invalid username or password."})
            return
        orgs = [{"name": name} for name in names[1:]]
        token = {"accessToken": {"role": "write"}}
        self._send(200, {"type": "user", "name": names[0], "orgs": orgs, "auth": token})

    def create(self, body: bytes) -> None:
        options = json.loads(body)
        name = f"{options.get('organization') or self._names()[0]}/{options['name']}"
        if not self._may_write(name):
            return
        url = {"url": f"{self.hub.url}/{name}"}
        if name in self.hub.repos:
            self._send(409, {"error": "You already created this model repo", **url})
            return
        private = options.get("private") or options.get("visibility") == "private"
        self.hub.repos[name] = Repo(bool(private))
        self.hub.repos[name].commit({})
        self._send(200, url)

    def validate_yaml(self, body: bytes) -> None:
        text = json.loads(body)["content"]
        self.hub.cards.append(text)
        header = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
        license = re.search(r"^license: \"?([\w.-]+)\"?$", header[1], re.MULTILINE) if header else None
        errors = [] if license and license[1] in LICENSES else [{"message": '"license" must be one of the known ones'}]
        self._send(400 if errors else 200, {"errors": errors, "warnings": []})

    def preupload(self, body: bytes, repo: str, revision: str) -> None:
        if not (stored := self._repo(repo)) or not self._may_write(repo):
            return
        before = stored.commits.get(stored.resolve(revision) or "", {})
        files = []
        for file in json.loads(body)["files"]:
            mode = "lfs" if is_large(file["path"], file["size"]) else "regular"
            oid = {"oid": before[file["path"]].etag} if file["path"] in before else {}
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, **oid})
        self._send(200, {"files": files})

    def batch(self, body: bytes, repo: str) -> None:
        if not self._may_write(repo):
            return
        objects = []
        for item in json.loads(body)["objects"]:
            if item["oid"] not in self.hub.objects:
                upload = {"href": f"{self.hub.url}/lfs/{item['oid']}", "header": {}}
                item = {**item, "actions": {"upload": upload, "verify": {"href": f"{self.hub.url}/lfs-verify"}}}
            objects.append(item)
        self._send(200, {"transfer": "basic", "objects": objects})

    def upload(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            self._send(400, {"error": "the bytes are not those of the digest"})
            return
        self.hub.objects[oid] = Blob(body, True)
        self._send(200, {})

    def verify(self, body: bytes) -> None:
        item = json.loads(body)
        stored = self.hub.objects.get(item["oid"])
        self._send(200 if stored and len(stored.data) == item["size"] else 400, {})

    def commit(self, body: bytes, repo: str, revision: str) -> None:
        if not (stored := self._repo(repo)) or not self._may_write(repo):
            return
        ref = unquote(revision)
        files = dict(stored.commits.get(stored.resolve(ref) or "", {}))
        for line in body.decode().splitlines():
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if key == "header" and value.get("parentCommit") not in (None, stored.refs.get(ref)):
                self._send(412, {"error": "A commit has happened since. Please refresh and try again."})
                return
            if key == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif key == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    self._send(400, {"error": f"no object {value['oid']}"})
                    return
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif key == "deletedFile":
                files.pop(value["path"], None)
            elif key == "deletedFolder":
                files = {path: blob for path, blob in files.items() if not path.startswith(value["path"])}
        oid = stored.commit(files, ref)
        self._send(200, {"commitUrl": f"{self.hub.url}/{repo}/commit/{oid}", "commitOid": oid})

    def tag(self, body: bytes, repo: str, revision: str) -> None:
        if (stored := self._repo(repo)) and self._may_write(repo) and (commit := self._commit_of(stored, revision)):
            stored.refs[json.loads(body)["tag"]] = commit
            self._send(200, {})

    def info(self, _body: bytes, repo: str, revision: str = "main") -> None:
        if (stored := self._repo(repo)) and (commit := self._commit_of(stored, revision)):
            files = [{"rfilename": path} for path in sorted(stored.commits[commit])]
            self._send(200, {"id": repo, "sha": commit, "private": stored.private, "siblings": files, "tags": []})

    def tree(self, _body: bytes, repo: str, revision: str, folder: str = "") -> None:
        if not ((stored := self._repo(repo)) and (commit := self._commit_of(stored, revision))):
            return
        prefix = f"{unquote(folder)}/" if folder else ""
        files = {path: blob for path, blob in stored.commits[commit].items() if path.startswith(prefix)}
        if "recursive=true" in self.query.lower():
            self._send(200, [_entry(path, blob) for path, blob in sorted(files.items())])
            return
        names = {path.removeprefix(prefix).partition("/")[::2] for path in files}
        folders = sorted({name for name, inner in names if inner})
        entries = [{"type": "directory", "path": prefix + name, "oid": "0" * 40, "size": 0} for name in folders]
        self._send(200, entries + [_entry(prefix + name, files[prefix + name]) for name, inner in names if not inner])

    def resolve(self, _body: bytes, repo: str, revision: str, path: str) -> None:
        if not ((stored := self._repo(repo)) and (commit := self._commit_of(stored, revision))):
            return
        blob = stored.commits[commit].get(unquote(path))
        if blob is None:
            self._refuse(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": commit})
            return
        headers = {"X-Repo-Commit": commit, "ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
        if blob.large:
            headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.data))}
        data = blob.data
        if self._active_fault and self._active_fault.corrupt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, end = int(span[1]), int(span[2] or len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            self._send(206, data[start : end + 1], headers)
            return
        self._send(200, data, headers)


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "oid": blob.git_oid, "size": len(blob.data)}
    if blob.large:
        entry["lfs"] = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": 130}
    return entry


_REPO, _REV = r"(?P<repo>[\w.-]+/[\w.-]+)", r"(?P<revision>[^/]+)"
_ROUTES = [
    ("GET", r"/api/whoami-v2", Handler.whoami),
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate_yaml),
    ("POST", rf"/api/models/{_REPO}/preupload/{_REV}", Handler.preupload),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", Handler.upload),
    ("POST", r"/lfs-verify", Handler.verify),
    ("POST", rf"/api/models/{_REPO}/commit/{_REV}", Handler.commit),
    ("POST", rf"/api/models/{_REPO}/tag/{_REV}", Handler.tag),
    ("GET", rf"/api/(?:models|datasets)/{_REPO}/revision/{_REV}", Handler.info),
    ("GET", rf"/api/(?:models|datasets)/{_REPO}/tree/{_REV}(?:/(?P<folder>.+))?", Handler.tree),
    ("GET", rf"/api/(?:models|datasets)/{_REPO}", Handler.info),
    ("GET", rf"/(?:datasets/)?{_REPO}/resolve/{_REV}/(?P<path>.+)", Handler.resolve),
]
