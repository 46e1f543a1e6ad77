// Node's ws, with its default limits. It has one thread.
const { WebSocketServer } = require("ws");

const room = new Set();
const kept = [];

const handlers = {
  "/echo": (socket, data, binary) => socket.send(data, { binary }),
  "/work": (socket, data) => {
    const until = performance.now() + (data.length === 0 ? 0 : 1);
    while (performance.now() < until);
  },
  "/busy": () => new Promise((done) => setTimeout(done, 1000)),
  "/room": () => {},
  "/publish": (socket, data, binary) => {
    for (const other of room) other.send(data, { binary });
  },
  "/panic": () => {
    throw new Error("as told");
  },
  "/hang": () => new Promise(() => {}),
  "/leak": (socket) => kept.push(socket),
};

// Without this the first handler that throws ends the process.
process.on("uncaughtException", (error) => {
  if (error.message !== "as told") throw error;
});

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: true });

server.on("connection", (socket, request) => {
  const handle = handlers[request.url];
  socket.on("error", () => {});
  socket.on("message", (data, binary) => handle(socket, data, binary));
  if (request.url === "/room") {
    room.add(socket);
    socket.on("close", () => room.delete(socket));
  }
});

server.on("listening", () => console.log(`127.0.0.1:${server.address().port}`));

// The program that attacks is gone.
process.stdin.on("end", () => process.exit()).resume();
