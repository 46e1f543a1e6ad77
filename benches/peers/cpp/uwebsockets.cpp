// uWebSockets as its examples use it.
#include <iostream>
#include <string>
#include <string_view>

#include "App.h"

struct Session {
    std::string name;
};

int main(int, char **args) {
    std::string_view job = args[1];
    bool deflate = job == "deflate", chat = job == "chat", room = chat || job == "broadcast";
    uWS::App app;
    app.ws<Session>("/*", {
        // No context takeover on either side.
        .compression = deflate
            ? uWS::CompressOptions(uWS::SHARED_COMPRESSOR | uWS::SHARED_DECOMPRESSOR)
            : uWS::DISABLED,
        // Above the defaults of 16 KiB and 64 KiB, as Bun's are.
        .maxPayloadLength = 16 << 20,
        .maxBackpressure = 16 << 20,
        .upgrade = [](auto *res, auto *req, auto *context) {
            res->template upgrade<Session>(
                {std::string(req->getUrl().substr(1))},
                req->getHeader("sec-websocket-key"),
                req->getHeader("sec-websocket-protocol"),
                req->getHeader("sec-websocket-extensions"), context);
        },
        .open = [=](auto *ws) {
            if (room) ws->subscribe("room");
        },
        .message = [=, &app](auto *ws, std::string_view message, uWS::OpCode code) {
            if (chat) {
                app.publish("room", ws->getUserData()->name + ": " + std::string(message), code);
            } else if (room) {
                app.publish("room", message, code);
            } else {
                ws->send(message, code, deflate);
            }
        },
    });
    app.listen("127.0.0.1", 0, [](auto *socket) {
        if (!socket) std::exit(1);
        int port = us_socket_local_port(0, (struct us_socket_t *) socket);
        std::cout << "127.0.0.1:" << port << std::endl;
    });
    app.run();
}
