use axeom_ws::App;

struct Admin;

fn main() {
    let _ = App::new()
        .group("/admin", |app| app.derive(async |_| Ok(Admin)))
        .ws("/", |route| {
            route.open(async |ws| {
                let _admin: &Admin = ws.get();
            })
        });
}
