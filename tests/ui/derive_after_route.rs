use axeom_ws::App;

struct Db;

fn main() {
    // A route sees what was added before it, not after.
    let _ = App::new()
        .ws("/", |route| {
            route.open(async |ws| {
                let _db: &Db = ws.get();
            })
        })
        .decorate(Db);
}
