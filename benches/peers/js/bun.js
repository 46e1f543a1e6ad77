const job = process.argv[2];

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    const name = new URL(request.url).pathname.slice(1);
    if (!server.upgrade(request, { data: { name } })) {
      return new Response("not a WebSocket", { status: 426 });
    }
  },
  websocket: {
    // No context takeover on either side.
    perMessageDeflate: job === "deflate" && { compress: "shared", decompress: "shared" },
    publishToSelf: true,
    open(ws) {
      if (job === "broadcast" || job === "chat") ws.subscribe("room");
    },
    message: {
      echo: (ws, message) => void ws.send(message),
      deflate: (ws, message) => void ws.send(message, true),
      broadcast: (ws, message) => void server.publish("room", message),
      chat: (ws, message) => void ws.publishText("room", `${ws.data.name}: ${message}`),
    }[job],
  },
});

console.log(`127.0.0.1:${server.port}`);
