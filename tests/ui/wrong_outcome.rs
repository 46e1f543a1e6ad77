use axeom_ws::App;

fn main() {
    let _ = App::new().ws("/", |route| route.message(async |_, msg| msg.len()).close(async |_, _, _| {}));
}
