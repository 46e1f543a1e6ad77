use axeom_ws::{App, Rejection};

struct Db;
struct User;

fn main() {
    // Nothing before the route derives a `User`.
    let _ = App::new().decorate(Db).ws("/", |route| {
        route.open(async |ws| {
            let _user: &User = ws.get();
        })
    });

    // The derive needs a `Db` that nobody decorated before it.
    let _ = App::new().derive(async |ctx| {
        let _db: &Db = ctx.get();
        Ok::<_, Rejection>(User)
    });
}
