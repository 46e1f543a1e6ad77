// Pages of the examples in headless Chromium: WebSockets over HTTP/2 with TLS, and a chat under
// axum in two tabs.
//
//     cargo build --all-features --examples
//     npm install --no-save ws            # in any folder; then NODE_MODULES=that/node_modules
//     node tests/interop/browser.mjs      # CHROMIUM names the browser, if it is not `chromium`
//
// Node's own HTTP/2 client is tried too. Installs nothing itself.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import http2 from "node:http2";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? join(resolve(here, "../.."), "target");
const modules = process.env.NODE_MODULES;
const require = createRequire(modules ? join(resolve(modules), "x") : import.meta.url);
const WebSocket = require("ws");

// Nothing here takes this long.
const watchdog = setTimeout(() => {
  console.error("the test hangs");
  process.exit(1);
}, 120_000);

/** Runs an example while `use` talks to it. It must end well when it is interrupted. */
async function withExample(name, use) {
  const binary = join(target, "debug/examples", name);
  const server = spawn(binary, ["--addr", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface(server.stdout);
  const log = [];
  const [first] = await once(lines, "line");
  lines.on("line", (line) => log.push(line));
  try {
    await use(/(https?:\/\/\S+)/.exec(first)[1], log);
    server.kill("SIGINT");
    assert.deepEqual(await once(server, "exit"), [0, null]);
    assert.equal(log.at(-1), "closed all connections");
  } finally {
    server.kill("SIGKILL");
  }
}

/** A browser without a profile, driven through its DevTools protocol. */
class Browser {
  static async start() {
    const profile = mkdtempSync(join(tmpdir(), "chromium-"));
    const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
      "--ignore-certificate-errors", "--remote-debugging-port=0", `--user-data-dir=${profile}`];
    const process_ = spawn(process.env.CHROMIUM ?? "chromium", flags, { stdio: ["ignore", "ignore", "pipe"] });
    for await (const line of createInterface(process_.stderr)) {
      const url = /DevTools listening on (ws:\S+)/.exec(line)?.[1];
      if (!url) continue;
      process_.stderr.resume();
      const socket = new WebSocket(url, { perMessageDeflate: false });
      await once(socket, "open");
      return new Browser(profile, process_, socket);
    }
    throw new Error("the browser does not start");
  }

  #asked = new Map();
  #count = 0;

  constructor(profile, process_, socket) {
    Object.assign(this, { profile, process_, socket });
    socket.on("message", (data) => {
      const { id, result, error } = JSON.parse(data);
      const asked = this.#asked.get(id);
      this.#asked.delete(id);
      if (error) asked?.reject(new Error(error.message));
      else asked?.resolve(result);
    });
  }

  call(method, params = {}, sessionId = undefined) {
    const id = ++this.#count;
    this.socket.send(JSON.stringify({ id, method, params, sessionId }));
    return new Promise((resolve_, reject) => this.#asked.set(id, { resolve: resolve_, reject }));
  }

  /** Opens a page, in a context with cookies of its own. */
  async open(url) {
    const { browserContextId } = await this.call("Target.createBrowserContext");
    const { targetId } = await this.call("Target.createTarget", { url, browserContextId });
    const { sessionId } = await this.call("Target.attachToTarget", { targetId, flatten: true });
    return new Page(this, sessionId);
  }

  async close() {
    this.socket.close();
    this.process_.kill();
    await once(this.process_, "exit");
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 10 });
  }
}

class Page {
  constructor(browser, session) {
    Object.assign(this, { browser, session });
  }

  async evaluate(expression) {
    const asked = { expression, awaitPromise: true, returnByValue: true };
    const { result } = await this.browser.call("Runtime.evaluate", asked, this.session);
    return result.value;
  }

  /** Waits until the page says this. */
  async says(text) {
    const is = `document.body?.innerText.includes(${JSON.stringify(text)}) ?? false`;
    while (!(await this.evaluate(is))) await new Promise((done) => setTimeout(done, 20));
  }

  /** Fills the only field of the page in, and sends its form. */
  async submit(text) {
    const field = `document.querySelector("form input")`;
    await this.evaluate(`${field}.value = ${JSON.stringify(text)}; ${field}.form.requestSubmit()`);
  }
}

/** A text frame as a client sends it, masked with zeros. */
const text = (payload) => Buffer.from([0x81, 0x80 | payload.length, 0, 0, 0, 0, ...Buffer.from(payload)]);

/** Several WebSockets on one connection of Node's HTTP/2 client. */
async function throughNode(url) {
  const session = http2.connect(url, { rejectUnauthorized: false });
  const [settings] = await once(session, "remoteSettings");
  assert.equal(settings.enableConnectProtocol, true);
  const open = async (headers) => {
    const stream = session.request({
      ":method": "CONNECT", ":protocol": "websocket", ":path": "/echo",
      "sec-websocket-version": "13", ...headers,
    }, { endStream: false });
    const [response] = await once(stream, "response");
    return { stream, status: response[":status"], response };
  };
  const chunk = async (stream) => (await once(stream, "data"))[0].toString("latin1");
  const streams = [];
  for (let n = 0; n < 3; n++) {
    const { stream, status } = await open({});
    assert.equal(status, 200);
    assert.equal(await chunk(stream), "\x81\x13hello over HTTP/2.0");
    streams.push(stream);
  }
  for (const [n, stream] of streams.entries()) {
    stream.write(text(`message ${n}`));
    assert.equal(await chunk(stream), `\x81\x09message ${n}`);
  }
  // One of them is reset; the others go on.
  streams[0].close(http2.constants.NGHTTP2_CANCEL);
  await once(streams[0], "close");
  streams[1].write(text("still there"));
  assert.equal(await chunk(streams[1]), "\x81\x0bstill there");
  // What is refused is refused with a status, and without the headers of HTTP/1.1.
  for (const [headers, expected] of [
    [{ "sec-websocket-version": "8" }, 426],
    [{ origin: "https://evil.example" }, 403],
    [{ ":path": "/nowhere" }, 404],
    [{ ":protocol": "other" }, 404],
  ]) {
    const { stream, status, response } = await open(headers);
    assert.equal(status, expected, JSON.stringify(headers));
    assert.equal(response.connection, undefined);
    stream.close();
  }
  const closed = once(streams[1], "end");
  streams[1].write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]));
  assert.equal(await chunk(streams[1]), "\x88\x02\x03\xe8");
  await closed;
  session.destroy();
}

const browser = await Browser.start();
try {
  await withExample("hyper", async (url, log) => {
    await throughNode(url);
    log.length = 0;
    const page = await browser.open(url);
    await page.says("The page came over h2.");
    await page.says("hello over HTTP/2.0");
    await page.submit("typed in Chromium");
    await page.says("typed in Chromium");
    assert.match(log[0], /came over HTTP\/2\.0$/);
  });
  console.log("hyper: Chromium and Node over HTTP/2, several WebSockets on one connection");

  await withExample("axum", async (url) => {
    const pages = [await browser.open(url), await browser.open(url)];
    for (const [n, page] of pages.entries()) {
      await page.says("Your name");
      await page.submit(["Ada", "Grace"][n]);
      await page.says("connected");
    }
    for (const page of pages) {
      await page.submit("hello");
      for (const other of pages) await other.says(page === pages[0] ? "Ada: hello" : "Grace: hello");
    }
  });
  console.log("axum: two tabs of Chromium in one chat");
} finally {
  await browser.close();
}
clearTimeout(watchdog);
