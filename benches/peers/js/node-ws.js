import { WebSocketServer } from "ws";

const job = process.argv[2];

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  perMessageDeflate: job === "deflate" && {
    serverNoContextTakeover: true,
    clientNoContextTakeover: true,
  },
});

server.on("connection", (socket, request) => {
  const name = request.url.slice(1);
  socket.on("error", () => {});
  const echo = (data, binary) => socket.send(data, { binary });
  socket.on("message", {
    echo,
    deflate: echo,
    broadcast: (data, binary) => {
      for (const client of server.clients) client.send(data, { binary });
    },
    chat: (data) => {
      const said = `${name}: ${data}`;
      for (const client of server.clients) client.send(said);
    },
  }[job]);
});

server.on("listening", () => console.log(`127.0.0.1:${server.address().port}`));
