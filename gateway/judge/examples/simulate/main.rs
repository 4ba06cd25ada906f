//! The simulation of `docs/rollouts.md`, run by the judge itself. Seeded: the same numbers each
//! time. `cargo run --release -p weighbridge-judge --example simulate [TABLE…]`, with the tables
//! `false`, `detect`, `hard`, `whole`, `keys` and `shadow`; without one, all (some minutes).

mod keys;
mod shadow;
mod tables;
mod traffic;
mod trial;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let tables: [(&str, fn()); 6] = [
        ("false", tables::false_rollbacks),
        ("detect", tables::detection),
        ("hard", tables::hard_faults),
        ("whole", tables::whole_rollouts),
        ("keys", keys::table),
        ("shadow", shadow::table),
    ];
    for word in &asked {
        if tables.iter().all(|(name, _)| name != word) {
            eprintln!("{word}: wanted one of {:?}", tables.map(|(name, _)| name));
            return;
        }
    }
    for (name, table) in tables {
        if asked.is_empty() || asked.iter().any(|word| word == name) {
            table();
        }
    }
}
