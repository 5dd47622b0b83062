//! How many Argon2id hashes a second this machine can make: what `cargo bench-issuer` holds logins against. Nothing but
//! the computation, in memory that is kept, built as the issuer is.
//!
//! `argon2id_limit THREADS MEMORY_KIB PASSES SECONDS` prints hashes per second.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};

fn main() -> ExitCode {
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let &[threads, memory_kib, passes, seconds] = numbers.as_slice() else {
        eprintln!("usage: argon2id_limit THREADS MEMORY_KIB PASSES SECONDS");
        return ExitCode::FAILURE;
    };
    let params = match Params::new(memory_kib, passes, 1, Some(32)) {
        Ok(params) => params,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let time = Duration::from_secs(seconds.into());
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let params = params.clone();
            std::thread::spawn(move || hashes_per_second(params, time))
        })
        .collect();
    let rate: f64 = workers.into_iter().filter_map(|worker| worker.join().ok()).sum();
    println!("{rate:.3}");
    ExitCode::SUCCESS
}

fn hashes_per_second(params: Params, time: Duration) -> f64 {
    let mut memory = vec![Block::new(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut output = [0; 32];
    let mut hash = |salt: &[u8; 16]| {
        let _ = argon2.hash_password_into_with_memory(
            b"a password of a usual length",
            salt,
            &mut output,
            &mut memory,
        );
        std::hint::black_box(&output);
    };
    // The memory is taken page by page when it is first written.
    hash(&[0; 16]);
    let (mut done, begun) = (0_u64, Instant::now());
    while begun.elapsed() < time {
        hash(&u128::from(done).to_le_bytes());
        done += 1;
    }
    done as f64 / begun.elapsed().as_secs_f64()
}
