use actix_web::{App, HttpRequest, HttpResponse, HttpServer, rt, web};
use actix_ws::AggregatedMessage;

use super::announce;
use crate::Result;

/// Above the default of 64 KiB, for the echo of 1 MiB.
const LARGEST: usize = 2 << 20;

pub(super) fn serve() -> Result<()> {
    rt::System::new().block_on(async {
        let app = || App::new().route("/", web::get().to(upgrade));
        let server = HttpServer::new(app).workers(1).tcp_nodelay(true).bind("127.0.0.1:0")?;
        announce(server.addrs()[0]);
        Ok(server.run().await?)
    })
}

async fn upgrade(request: HttpRequest, body: web::Payload) -> actix_web::Result<HttpResponse> {
    let (response, mut session, messages) = actix_ws::handle(&request, body)?;
    let mut messages =
        messages.max_frame_size(LARGEST).aggregate_continuations().max_continuation_size(LARGEST);
    rt::spawn(async move {
        while let Some(Ok(message)) = messages.recv().await {
            let sent = match message {
                AggregatedMessage::Text(text) => session.text(text).await,
                AggregatedMessage::Binary(bytes) => session.binary(bytes).await,
                AggregatedMessage::Close(reason) => {
                    let _ = session.close(reason).await;
                    return;
                }
                _ => Ok(()),
            };
            if sent.is_err() {
                return;
            }
        }
    });
    Ok(response)
}
