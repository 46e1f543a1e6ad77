use axeom_ws::App;

fn main() {
    let _ = App::new().ws("/", |route| route.open(async |_| {}).open(async |_| {}));
}
