//! Calls of the C ABI in any order, with any arguments that C could give: by seed, so that what breaks can be repeated.

#![cfg(feature = "capi")]
#![expect(unsafe_code, reason = "calls as a C program does")]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    clippy::undocumented_unsafe_blocks,
    reason = "every pointer is null, or to an object or a buffer that lives until its end"
)]

use std::net::SocketAddr;
use std::ptr;

use openssl_dtls::capi::*;
use socket2::SockAddr;

const SEEDS: u64 = 24;
const CALLS: usize = 3_000;
const VERBS: u8 = 29;

/// Objects of each kind, the freed ones taken out.
struct World {
    random: fastrand::Rng,
    contexts: Vec<*mut odtls_context>,
    rings: Vec<*mut odtls_cookie_ring>,
    listeners: Vec<*mut odtls_listener>,
    connections: Vec<*mut odtls_connection>,
    endpoints: Vec<*mut odtls_endpoint>,
    handles: Vec<u64>,
    /// Datagrams that were taken from somewhere.
    datagrams: Vec<Vec<u8>>,
    calls: [u64; 64],
}

fn pick<T: Copy>(random: &mut fastrand::Rng, from: &[T]) -> Option<T> {
    (!from.is_empty()).then(|| from[random.usize(..from.len())])
}

/// Takes something out, to be freed.
fn take<T>(random: &mut fastrand::Rng, from: &mut Vec<*mut T>) -> *mut T {
    if from.is_empty() || random.u8(..8) == 0 {
        return ptr::null_mut();
    }
    from.swap_remove(random.usize(..from.len()))
}

impl World {
    fn new(seed: u64) -> World {
        World {
            random: fastrand::Rng::with_seed(seed),
            contexts: Vec::new(),
            rings: Vec::new(),
            listeners: Vec::new(),
            connections: Vec::new(),
            endpoints: Vec::new(),
            handles: vec![0, 1, u64::MAX],
            datagrams: vec![Vec::new(), vec![22; 40]],
            calls: [0; 64],
        }
    }

    /// One of the objects, now and then none.
    fn any<T>(&mut self, objects: fn(&World) -> &Vec<*mut T>) -> *mut T {
        let index = self.random.usize(..);
        let objects = objects(self);
        if objects.is_empty() || index.is_multiple_of(16) {
            return ptr::null_mut();
        }
        objects[index % objects.len()]
    }

    fn address(&mut self) -> (SockAddr, socket2::socklen_t) {
        let port = self.random.u16(1..6);
        let address = SockAddr::from(SocketAddr::from(([192, 0, 2, 1], port)));
        let length = match self.random.u8(..16) {
            0 => self.random.u32(..200) as socket2::socklen_t,
            _ => address.len(),
        };
        // A length beyond the address itself would read what is not there.
        let length = length.min(address.len());
        (address, length)
    }

    fn datagram(&mut self) -> Vec<u8> {
        let mut datagram = pick_clone(&mut self.random, &self.datagrams);
        if self.random.u8(..4) == 0 && !datagram.is_empty() {
            let at = self.random.usize(..datagram.len());
            datagram[at] ^= 1 << self.random.u8(..8);
        }
        datagram
    }

    fn keep(&mut self, datagram: &[u8]) {
        if self.datagrams.len() < 64 {
            self.datagrams.push(datagram.to_vec());
        } else {
            let at = self.random.usize(2..self.datagrams.len());
            self.datagrams[at] = datagram.to_vec();
        }
    }

    fn count(&mut self, verb: u8, result: odtls_result) {
        assert_ne!(result, odtls_result::ODTLS_PANIC, "verb {verb}");
        if result == odtls_result::ODTLS_OK {
            self.calls[usize::from(verb)] += 1;
        }
    }

    fn call(&mut self) {
        let verb = self.random.u8(..VERBS);
        let mut buffer = vec![0_u8; [0, 3, 100, 20_000][self.random.usize(..4)]];
        let (mut length, mut number, mut milliseconds) = (0_usize, 0, 0_u64);
        let mut handle = pick(&mut self.random, &self.handles).unwrap_or(0);
        let datagram = self.datagram();
        let (address, address_len) = self.address();
        let peer: *const sockaddr = address.as_ptr().cast();
        let result = unsafe {
            match verb {
                0 => self.make_context(),
                1 => {
                    let mut ring = ptr::null_mut();
                    let result = odtls_cookie_ring_new(&raw mut ring);
                    self.rings.extend((!ring.is_null()).then_some(ring));
                    result
                }
                2 => {
                    let (context, ring) = (self.any(|w| &w.contexts), self.any(|w| &w.rings));
                    let mut listener = ptr::null_mut();
                    let result = odtls_listener_new(context, ring, &raw mut listener);
                    self.listeners
                        .extend((!listener.is_null()).then_some(listener));
                    result
                }
                3 => {
                    let context = self.any(|w| &w.contexts);
                    let mut connection = ptr::null_mut();
                    let result = odtls_connection_client_new(
                        context,
                        peer,
                        address_len,
                        ptr::null(),
                        &raw mut connection,
                    );
                    self.connections
                        .extend((!connection.is_null()).then_some(connection));
                    result
                }
                4 => {
                    let context = self.any(|w| &w.contexts);
                    let proof = self.random.i32(-1..3);
                    let mut connection = ptr::null_mut();
                    let result = odtls_connection_server_new(
                        context,
                        peer,
                        address_len,
                        proof,
                        &raw mut connection,
                    );
                    self.connections
                        .extend((!connection.is_null()).then_some(connection));
                    result
                }
                5 => {
                    let mut endpoint = ptr::null_mut();
                    let result = odtls_endpoint_new(ptr::null(), &raw mut endpoint);
                    self.endpoints
                        .extend((!endpoint.is_null()).then_some(endpoint));
                    result
                }
                6 => {
                    let listener = self.any(|w| &w.listeners);
                    let mut connection = ptr::null_mut();
                    let result = odtls_listener_handle_datagram(
                        listener,
                        peer,
                        address_len,
                        datagram.as_ptr(),
                        datagram.len(),
                        &raw mut number,
                        &raw mut connection,
                    );
                    self.connections
                        .extend((!connection.is_null()).then_some(connection));
                    result
                }
                7 => {
                    let listener = self.any(|w| &w.listeners);
                    let result = odtls_listener_take_reply(
                        listener,
                        buffer.as_mut_ptr(),
                        buffer.len(),
                        &raw mut length,
                    );
                    self.keep_if(result, &buffer, length)
                }
                8 | 9 => {
                    let connection = self.any(|w| &w.connections);
                    odtls_connection_handle_datagram(connection, datagram.as_ptr(), datagram.len())
                }
                10 | 11 => {
                    let connection = self.any(|w| &w.connections);
                    let result = odtls_connection_take_datagram(
                        connection,
                        buffer.as_mut_ptr(),
                        buffer.len(),
                        &raw mut length,
                    );
                    self.keep_if(result, &buffer, length)
                }
                12 => {
                    let connection = self.any(|w| &w.connections);
                    odtls_connection_send(connection, buffer.as_ptr(), buffer.len())
                }
                13 => {
                    let connection = self.any(|w| &w.connections);
                    odtls_connection_recv(
                        connection,
                        buffer.as_mut_ptr(),
                        buffer.len(),
                        &raw mut length,
                    )
                }
                14 => {
                    let connection = self.any(|w| &w.connections);
                    let mut event = odtls_event { kind: 0, value: 0 };
                    let result = odtls_connection_poll_event(connection, &raw mut event);
                    odtls_connection_is_established(connection);
                    odtls_connection_ssl(connection);
                    odtls_connection_last_error(
                        connection,
                        buffer.as_mut_ptr().cast(),
                        buffer.len(),
                    );
                    result
                }
                15 => {
                    let connection = self.any(|w| &w.connections);
                    odtls_connection_timeout(connection, &raw mut milliseconds)
                }
                16 => odtls_connection_handle_timeout(self.any(|w| &w.connections)),
                17 => odtls_connection_release_buffers(self.any(|w| &w.connections)),
                18 if self.random.u8(..4) == 0 => {
                    odtls_connection_close(self.any(|w| &w.connections))
                }
                19 => {
                    let what = self.random.i32(-1..7);
                    let connection = self.any(|w| &w.connections);
                    odtls_connection_info(
                        connection,
                        what,
                        buffer.as_mut_ptr(),
                        buffer.len(),
                        &raw mut length,
                    )
                }
                20 => {
                    let endpoint = self.any(|w| &w.endpoints);
                    let (context, ring) = (self.any(|w| &w.contexts), self.any(|w| &w.rings));
                    odtls_endpoint_set_server(endpoint, context, ring)
                }
                21 => {
                    let (endpoint, context) =
                        (self.any(|w| &w.endpoints), self.any(|w| &w.contexts));
                    let result = odtls_endpoint_connect(
                        endpoint,
                        context,
                        peer,
                        address_len,
                        ptr::null(),
                        &raw mut handle,
                    );
                    self.handles.push(handle);
                    result
                }
                22 => {
                    let endpoint = self.any(|w| &w.endpoints);
                    odtls_endpoint_handle_datagram(
                        endpoint,
                        peer,
                        address_len,
                        ptr::null(),
                        0,
                        datagram.as_ptr(),
                        datagram.len(),
                        &raw mut number,
                    )
                }
                23 => {
                    let endpoint = self.any(|w| &w.endpoints);
                    let mut storage = [0_u8; 128];
                    let mut room = if self.random.bool() { 128 } else { 5 };
                    let result = odtls_endpoint_take_datagram(
                        endpoint,
                        buffer.as_mut_ptr(),
                        buffer.len(),
                        &raw mut length,
                        storage.as_mut_ptr().cast(),
                        &raw mut room,
                        ptr::null_mut(),
                        ptr::null_mut(),
                    );
                    self.keep_if(result, &buffer, length)
                }
                24 => {
                    let endpoint = self.any(|w| &w.endpoints);
                    let mut event = odtls_event { kind: 0, value: 0 };
                    let result =
                        odtls_endpoint_poll_event(endpoint, &raw mut handle, &raw mut event);
                    self.handles.push(handle);
                    result
                }
                25 => self.use_handle(handle, &mut buffer),
                26 => self.free_something(),
                27 => self.converse(),
                _ => {
                    let endpoint = self.any(|w| &w.endpoints);
                    let mut stats =
                        odtls_endpoint_stats::from(&openssl_dtls::EndpointStats::default());
                    match self.random.u8(..12) {
                        4 => odtls_endpoint_set_context(endpoint, self.any(|w| &w.contexts)),
                        5 => {
                            let mut room = self.random.u32(..130) as socket2::socklen_t;
                            let mut storage = [0_u8; 130];
                            odtls_endpoint_peer_of(
                                endpoint,
                                handle,
                                storage.as_mut_ptr().cast(),
                                &raw mut room,
                            )
                        }
                        6 => {
                            let mut stats = odtls_stats::from(&openssl_dtls::Stats::default());
                            odtls_endpoint_connection_stats(endpoint, handle, &raw mut stats)
                        }
                        7 => {
                            odtls_endpoint_is_drained(endpoint);
                            odtls_endpoint_last_error(
                                endpoint,
                                buffer.as_mut_ptr().cast(),
                                buffer.len(),
                            );
                            odtls_result::ODTLS_OK
                        }
                        8 => odtls_endpoint_set_mtu(endpoint, handle, self.random.u32(..5000)),
                        9 if self.random.u8(..4) == 0 => odtls_endpoint_refuse(endpoint, handle),
                        10 => odtls_endpoint_export(
                            endpoint,
                            handle,
                            c"EXPERIMENTAL any".as_ptr(),
                            ptr::null(),
                            0,
                            buffer.as_mut_ptr(),
                            buffer.len(),
                        ),
                        0 => odtls_endpoint_shutdown(endpoint, self.random.u32(..)),
                        1 => odtls_endpoint_get_stats(endpoint, &raw mut stats),
                        2 => odtls_endpoint_rotate_cookie_secret(endpoint),
                        3 => odtls_endpoint_timeout(endpoint, &raw mut milliseconds),
                        _ => odtls_endpoint_handle_timeout(endpoint),
                    }
                }
            }
        };
        self.count(verb, result);
    }

    fn keep_if(&mut self, result: odtls_result, buffer: &[u8], length: usize) -> odtls_result {
        if result == odtls_result::ODTLS_OK {
            self.keep(&buffer[..length]);
        }
        result
    }

    unsafe fn make_context(&mut self) -> odtls_result {
        // SAFETY: plain numbers and pointers, for which all zeroes are a value.
        let mut options: odtls_context_options = unsafe { std::mem::zeroed() };
        options.size = size_of_val(&options);
        options.psk_identity = b"identity".as_ptr();
        options.psk_identity_len = 8;
        options.psk_key = b"0123456789abcdef".as_ptr();
        options.psk_key_len = if self.random.u8(..8) == 0 {
            self.random.usize(..17)
        } else {
            16
        };
        options.dangerous = if self.random.u8(..8) == 0 {
            self.random.u32(..16)
        } else {
            0
        };
        let mut context = ptr::null_mut();
        let result = unsafe {
            odtls_context_new(self.random.i32(-1..3), &raw const options, &raw mut context)
        };
        self.contexts
            .extend((!context.is_null()).then_some(context));
        result
    }

    /// Lets two connections exchange all they have for a while, so that handshakes come to their end now and then.
    unsafe fn converse(&mut self) -> odtls_result {
        let ends = [self.any(|w| &w.connections), self.any(|w| &w.connections)];
        let mut buffer = vec![0; 20_000];
        let mut length = 0;
        let mut result = odtls_result::ODTLS_OK;
        for (from, to) in [(0, 1), (1, 0)].repeat(6) {
            unsafe {
                for _ in 0..16 {
                    let (start, size) = (buffer.as_mut_ptr(), buffer.len());
                    let taken =
                        odtls_connection_take_datagram(ends[from], start, size, &raw mut length);
                    if taken != odtls_result::ODTLS_OK {
                        break;
                    }
                    self.keep(&buffer[..length]);
                    result = odtls_connection_handle_datagram(ends[to], buffer.as_ptr(), length);
                }
                if odtls_connection_is_established(ends[from]) == 1 {
                    result = odtls_connection_send(ends[from], buffer.as_ptr(), 10);
                }
            }
        }
        result
    }

    unsafe fn use_handle(&mut self, handle: u64, buffer: &mut [u8]) -> odtls_result {
        let endpoint = self.any(|w| &w.endpoints);
        let (start, size) = (buffer.as_mut_ptr(), buffer.len());
        let mut length = 0;
        unsafe {
            match self.random.u8(..8) {
                0 => odtls_endpoint_send(endpoint, handle, start, size),
                1 => odtls_endpoint_recv(endpoint, handle, start, size, &raw mut length),
                2 => odtls_endpoint_close(endpoint, handle),
                3 => odtls_endpoint_forget(endpoint, handle),
                4 => odtls_endpoint_info(endpoint, handle, 0, start, size, &raw mut length),
                5 => {
                    let (address, length) = self.address();
                    odtls_endpoint_rebind(endpoint, handle, address.as_ptr().cast(), length)
                }
                6 => {
                    odtls_endpoint_ssl(endpoint, handle);
                    odtls_endpoint_data_mtu(endpoint, handle);
                    odtls_result::ODTLS_OK
                }
                _ => {
                    let (address, length) = self.address();
                    let mut found = 0;
                    odtls_endpoint_handle_of(
                        endpoint,
                        address.as_ptr().cast(),
                        length,
                        &raw mut found,
                    )
                }
            }
        }
    }

    unsafe fn free_something(&mut self) -> odtls_result {
        let World {
            random,
            contexts,
            rings,
            listeners,
            connections,
            endpoints,
            ..
        } = self;
        unsafe {
            match random.u8(..10) {
                0 => odtls_context_free(take(random, contexts)),
                1 => odtls_cookie_ring_free(take(random, rings)),
                2 => odtls_listener_free(take(random, listeners)),
                3 => odtls_endpoint_free(take(random, endpoints)),
                _ => odtls_connection_free(take(random, connections)),
            }
        }
        odtls_result::ODTLS_OK
    }
}

impl Drop for World {
    fn drop(&mut self) {
        unsafe {
            self.connections
                .drain(..)
                .for_each(|object| odtls_connection_free(object));
            self.endpoints
                .drain(..)
                .for_each(|object| odtls_endpoint_free(object));
            self.listeners
                .drain(..)
                .for_each(|object| odtls_listener_free(object));
            self.rings
                .drain(..)
                .for_each(|object| odtls_cookie_ring_free(object));
            self.contexts
                .drain(..)
                .for_each(|object| odtls_context_free(object));
        }
    }
}

fn pick_clone(random: &mut fastrand::Rng, from: &[Vec<u8>]) -> Vec<u8> {
    from[random.usize(..from.len())].clone()
}

#[test]
fn any_sequence_of_calls_is_answered() {
    let mut calls = [0; 64];
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..CALLS {
            world.call();
        }
        for (sum, count) in calls.iter_mut().zip(world.calls) {
            *sum += count;
        }
    }
    // Each verb worked now and then, or this shows nothing.
    for (verb, count) in calls.iter().enumerate().take(usize::from(VERBS)) {
        assert!(*count > 0, "verb {verb} never worked: {calls:?}");
    }
}
