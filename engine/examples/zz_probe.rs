use weighbridge_engine::*;
fn main(){ for p in std::env::args().skip(1) { let b=std::fs::read(&p).unwrap();
 match LoadedModel::load(&b,&LoadOptions::default()) { Ok(m)=>{ println!("{p}: {:?}\n  cost {:?}\n notes {:?} load {:.1} ms opt {:.1}", m.signature(), m.cost(), m.load_report().notes, m.load_report().load_ms, m.load_report().optimise_ms);
   let probe=probe_inputs(m.signature(),1); for rows in [1,64]{ let probe=probe_inputs(m.signature(),rows); let t=std::time::Instant::now(); let n=20000; let mut ok=true; for _ in 0..n { if m.run(&[&probe]).is_err(){ok=false;break;} } println!("  rows {rows}: {:.3} us ok {ok}", t.elapsed().as_secs_f64()*1e6/n as f64);} let _=probe; }
 Err(e)=>println!("{p}: {:?} {e}", e.kind()) } } }
