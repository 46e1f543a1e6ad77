const job = Deno.args[0];
const clients = new Set();

function serve(request) {
  if (request.headers.get("upgrade") !== "websocket") {
    return new Response("not a WebSocket", { status: 426 });
  }
  const name = new URL(request.url).pathname.slice(1);
  const { socket, response } = Deno.upgradeWebSocket(request);
  socket.binaryType = "arraybuffer";
  if (job !== "echo") {
    socket.onopen = () => clients.add(socket);
    socket.onclose = () => clients.delete(socket);
  }
  socket.onmessage = {
    echo: ({ data }) => socket.send(data),
    broadcast: ({ data }) => {
      for (const client of clients) client.send(data);
    },
    chat: ({ data }) => {
      const said = `${name}: ${data}`;
      for (const client of clients) client.send(said);
    },
  }[job];
  return response;
}

Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => console.log(`127.0.0.1:${port}`),
}, serve);
