// permessage-deflate against Node and npm's `ws`: what crosses the socket, in both
// directions, and that it comes back as it was sent.
//
//     cargo build --all-features --example interop_server
//     npm install --no-save ws            # in any folder; then NODE_MODULES=that/node_modules
//     node tests/interop/node.mjs         # on every runtime; or name some
//
// Installs nothing itself.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../..");
const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
const modules = process.env.NODE_MODULES;

let WebSocket;
try {
  WebSocket = createRequire(modules ? join(resolve(modules), "x") : import.meta.url)("ws");
} catch {
  console.error("This needs npm's ws: npm install --no-save ws, then set NODE_MODULES to the node_modules it is in.");
  process.exit(1);
}

const binary = join(target, "debug/examples/interop_server");
if (!existsSync(binary)) {
  console.error(`${binary} is not built: cargo build --all-features --example interop_server`);
  process.exit(1);
}

const TEXT = 1;
const BINARY = 2;
const RSV1 = 0x40;

/** The first byte and length of each frame in one direction, put together from chunks. */
class Frames {
  seen = [];
  bytes = 0;
  #rest = Buffer.alloc(0);

  push(chunk) {
    this.bytes += chunk.length;
    this.#rest = Buffer.concat([this.#rest, chunk]);
    for (let size; (size = frameSize(this.#rest)) && this.#rest.length >= size; ) {
      this.seen.push({ first: this.#rest[0], size });
      this.#rest = this.#rest.subarray(size);
    }
  }

  messages() {
    return this.seen.filter(({ first }) => (first & 0xf) === TEXT || (first & 0xf) === BINARY);
  }
}

function frameSize(bytes) {
  if (bytes.length < 10) {
    // A short frame may be all there is of it.
    if (bytes.length < 2 || (bytes[1] & 0x7f) > 125) return undefined;
  }
  const mask = bytes[1] & 0x80 ? 4 : 0;
  const length = bytes[1] & 0x7f;
  if (length === 126) return 4 + mask + bytes.readUInt16BE(2);
  if (length === 127) return 10 + mask + Number(bytes.readBigUInt64BE(2));
  return 2 + mask + length;
}

/** Connects, and watches both directions of the socket from the first frame on. */
async function connect(url, perMessageDeflate) {
  const ws = new WebSocket(url, { perMessageDeflate });
  const [received, sent] = [new Frames(), new Frames()];
  const inbox = [];
  let wake = () => {};
  ws.on("message", (data, isBinary) => {
    inbox.push({ data, isBinary });
    wake();
  });
  ws.on("upgrade", ({ socket }) => {
    const write = socket.write.bind(socket);
    socket.write = (chunk, ...rest) => {
      sent.push(typeof chunk === "string" ? Buffer.from(chunk, "latin1") : chunk);
      return write(chunk, ...rest);
    };
    socket.prependListener("data", (chunk) => received.push(chunk));
  });
  await once(ws, "open");
  const next = async () => {
    while (inbox.length === 0) await new Promise((done) => (wake = done));
    return inbox.shift();
  };
  return { ws, received, sent, next };
}

function payloads() {
  const words = "the quick brown fox jumps over the lazy dog; ".repeat(400);
  const json = JSON.stringify(Array.from({ length: 500 }, (_, id) => ({ id, name: `user ${id}` })));
  return [words, json, words, Buffer.alloc(200_000, 7), "ä💡€".repeat(3000), json.slice(0, 1500)];
}

async function exchange(address, path, offer) {
  const { ws, received, sent, next } = await connect(`ws://${address}${path}`, {
    threshold: 0,
    ...offer,
  });
  assert.match(ws.extensions, /^permessage-deflate/);
  const messages = payloads();
  for (const message of messages) ws.send(message);
  for (const message of messages) {
    const { data, isBinary } = await next();
    assert.equal(isBinary, typeof message !== "string");
    assert.ok(data.equals(Buffer.from(message)), `${path}: a message came back changed`);
  }
  const plain = messages.reduce((sum, message) => sum + Buffer.byteLength(message), 0);
  for (const [direction, frames] of Object.entries({ received, sent })) {
    const firsts = frames.messages().map(({ first }) => first);
    assert.equal(firsts.length, messages.length, `${direction}: ${firsts}`);
    assert.ok(firsts.every((first) => first & RSV1), `${direction} without RSV1: ${firsts}`);
    assert.ok(frames.bytes < plain / 5, `${direction}: ${frames.bytes} of ${plain} bytes`);
  }
  assert.equal(ws._socket.bytesRead > received.bytes, true, "the tap missed nothing");
  ws.close();
  await once(ws, "close");
  return { plain, received: received.bytes, sent: sent.bytes };
}

const RUNTIMES = ["tokio", "async-std", "smol"];
const paths = [
  "/takeover-0-0/bits-15-15",
  "/takeover-1-1/bits-15-15",
  "/takeover-1-1/bits-9-9",
  "/takeover-0-1/bits-10-13",
  "/level-9/mem-9",
  "/level-1/mem-5",
];
const offers = [
  {},
  { serverNoContextTakeover: true, clientNoContextTakeover: true },
  { serverMaxWindowBits: 9, clientMaxWindowBits: 10 },
];

for (const runtime of process.argv.length > 2 ? process.argv.slice(2) : RUNTIMES) {
  const server = spawn(binary, ["--runtime", runtime, "--addr", "127.0.0.1:0"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const [line] = await once(createInterface(server.stdout), "line");
    const address = /http:\/\/(\S+)/.exec(line)[1];
    let total = { plain: 0, received: 0, sent: 0 };
    for (const path of paths) {
      for (const offer of offers) {
        const bytes = await exchange(address, path, offer);
        for (const key of Object.keys(total)) total[key] += bytes[key];
      }
    }
    // One that offers nothing is sent nothing compressed.
    const { ws, received, next } = await connect(`ws://${address}${paths[0]}`, false);
    assert.equal(ws.extensions, "");
    ws.send("plain ".repeat(1000));
    assert.equal((await next()).data.toString(), "plain ".repeat(1000));
    assert.deepEqual(received.messages().map(({ first }) => first), [0x80 | TEXT]);
    ws.close();
    await once(ws, "close");
    console.log(
      `${runtime}: ${paths.length * offers.length} connections, ${total.plain} bytes each way ` +
        `as ${total.received} received and ${total.sent} sent, all with RSV1`,
    );
  } finally {
    server.kill();
    await once(server, "exit");
  }
}
