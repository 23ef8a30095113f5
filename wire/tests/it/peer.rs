//! The peer protocol as a stream: what is written is read back, however it is cut, and hostile bytes are refused.

mod messages {
    use proptest::prelude::*;
    use wire::Decoded;
    use wire::peer::{Error, Expected, HashRequest, Hashes, Limits, Message, Request};

    const LIMITS: Limits = Limits::DEFAULT;

    fn encoded(message: Message<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        message.encode(&mut out);
        out
    }

    const REQUEST: Request = Request { index: 1, begin: 0x4000, len: 0x8000 };
    const HASHES: HashRequest =
        HashRequest { pieces_root: [9; 32], base_layer: 1, index: 2, length: 2, proof_layers: 3 };

    /// One message of each kind.
    pub(super) fn all() -> Vec<Message<'static>> {
        vec![
            Message::KeepAlive,
            Message::Choke,
            Message::Unchoke,
            Message::Interested,
            Message::NotInterested,
            Message::Have(0x01020304),
            Message::Bitfield(b"\xf0\x80"),
            Message::Request(REQUEST),
            Message::Piece { index: 1, begin: 2, len: 3 },
            Message::Cancel(REQUEST),
            Message::Port(6881),
            Message::Suggest(5),
            Message::HaveAll,
            Message::HaveNone,
            Message::Reject(REQUEST),
            Message::AllowedFast(6),
            Message::Extended { id: 0, payload: b"de" },
            Message::HashRequest(HASHES),
            Message::Hashes(Hashes { request: HASHES, hashes: &[[1; 32], [2; 32], [3; 32]] }),
            Message::HashReject(HASHES),
            Message::Unknown { id: 99, payload: b"what" },
        ]
    }

    #[test]
    fn every_kind_is_read_back_and_any_prefix_is_incomplete() {
        for message in all() {
            let bytes = encoded(message);
            let whole = Decoded::Complete { value: message, consumed: bytes.len() };
            assert_eq!(Message::parse(&bytes, &LIMITS), Ok(whole), "{message:?}");
            for end in 0..bytes.len() {
                match Message::parse(&bytes[..end], &LIMITS) {
                    Ok(Decoded::Incomplete { needed }) => {
                        assert!(needed > end && needed <= bytes.len(), "{message:?} {end} {needed}");
                    }
                    other => panic!("{message:?} cut at {end}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn the_layout_is_that_of_the_beps() {
        for (message, bytes) in [
            (Message::KeepAlive, &b"\0\0\0\0"[..]),
            (Message::Choke, b"\0\0\0\x01\0"),
            (Message::Have(258), b"\0\0\0\x05\x04\0\0\x01\x02"),
            (Message::Bitfield(b"\xf0"), b"\0\0\0\x02\x05\xf0"),
            (Message::Request(REQUEST), b"\0\0\0\x0d\x06\0\0\0\x01\0\0\x40\0\0\0\x80\0"),
            (Message::Piece { index: 1, begin: 2, len: 16384 }, b"\0\0\x40\x09\x07\0\0\0\x01\0\0\0\x02"),
            (Message::Port(6881), b"\0\0\0\x03\x09\x1a\xe1"),
            (Message::HaveAll, b"\0\0\0\x01\x0e"),
            (Message::HaveNone, b"\0\0\0\x01\x0f"),
            (Message::AllowedFast(1), b"\0\0\0\x05\x11\0\0\0\x01"),
            (Message::Suggest(1), b"\0\0\0\x05\x0d\0\0\0\x01"),
            (Message::Extended { id: 3, payload: b"x" }, b"\0\0\0\x03\x14\x03x"),
        ] {
            assert_eq!(encoded(message), bytes, "{message:?}");
        }
        assert_eq!(encoded(Message::Reject(REQUEST))[..5], *b"\0\0\0\x0d\x10");
        assert_eq!(encoded(Message::HashRequest(HASHES))[..5], *b"\0\0\0\x31\x15");
        assert_eq!(encoded(Message::HashReject(HASHES))[..5], *b"\0\0\0\x31\x17");
    }

    #[test]
    fn a_piece_is_complete_at_its_header() {
        let bytes = encoded(Message::Piece { index: 1, begin: 2, len: 16384 });
        let value = Message::Piece { index: 1, begin: 2, len: 16384 };
        assert_eq!(Message::parse(&bytes, &LIMITS), Ok(Decoded::Complete { value, consumed: 13 }));
        assert_eq!(Message::parse(&bytes[..5], &LIMITS), Ok(Decoded::Incomplete { needed: 13 }));
    }

    #[test]
    fn absurd_lengths_are_refused_from_the_prefix_alone() {
        let longest = 1 + Limits::DEFAULT.bitfield;
        for found in [u32::MAX, i32::MAX as u32, 64 << 20, longest as u32 + 1] {
            let refused = Error::Length { id: None, expected: Expected::AtMost(longest), found };
            assert_eq!(Message::parse(&found.to_be_bytes(), &LIMITS), Err(refused));
        }
        let longest = (longest as u32).to_be_bytes();
        assert_eq!(Message::parse(&longest, &LIMITS), Ok(Decoded::Incomplete { needed: 5 }));
    }

    /// Message id, then lengths just outside what it may have.
    #[test]
    fn every_wrong_length_is_refused_before_the_body_comes() {
        let exact = [
            (0, 1),
            (1, 1),
            (2, 1),
            (3, 1),
            (4, 5),
            (6, 13),
            (8, 13),
            (9, 3),
            (13, 5),
            (14, 1),
            (15, 1),
            (16, 13),
            (17, 5),
            (21, 49),
            (23, 49),
        ];
        let mut cases = Vec::new();
        for (id, len) in exact {
            cases.push((id, len + 1, Expected::Exactly(len as usize)));
            if len > 1 {
                cases.push((id, len - 1, Expected::Exactly(len as usize)));
            }
        }
        cases.extend([
            (7, 8, Expected::AtLeast(9)),
            (7, 10 + (128 << 10), Expected::AtMost(9 + (128 << 10))),
            (20, 1, Expected::AtLeast(2)),
            (20, 3 + (64 << 10), Expected::AtMost(2 + (64 << 10))),
            (22, 48, Expected::AtLeast(49)),
            (22, 50, Expected::WholeHashesAfter(49)),
            (22, 49 + 577 * 32, Expected::AtMost(49 + 576 * 32)),
            (10, 2 + (64 << 10), Expected::AtMost(1 + (64 << 10))),
            (255, 2 + (64 << 10), Expected::AtMost(1 + (64 << 10))),
        ]);
        for (id, found, expected) in cases {
            let mut bytes = u32::to_be_bytes(found).to_vec();
            bytes.push(id);
            let refused = Error::Length { id: Some(id), expected, found };
            assert_eq!(Message::parse(&bytes, &LIMITS), Err(refused));
        }
    }

    #[test]
    fn limits_may_be_as_large_as_numbers_are() {
        let most = usize::MAX;
        let limits = Limits { bitfield: most, extended: most, unknown: most, piece: most, hashes: most };
        assert_eq!(Message::parse(&u32::MAX.to_be_bytes(), &limits), Ok(Decoded::Incomplete { needed: 5 }));
        let needed = 5 + (u32::MAX as usize - 1);
        assert_eq!(Message::parse(b"\xff\xff\xff\xff\x05", &limits), Ok(Decoded::Incomplete { needed }));
    }

    #[test]
    fn limits_for_a_torrent_admit_its_bitfield_and_no_longer_one() {
        let limits = Limits::for_pieces(17);
        assert!(Message::parse(&encoded(Message::Bitfield(&[0; 3])), &limits).is_ok());
        let refused = Error::Length { id: Some(5), expected: Expected::AtMost(4), found: 5 };
        assert_eq!(Message::parse(b"\0\0\0\x05\x05", &limits), Err(refused));
    }

    proptest! {
        #[test]
        fn whatever_is_parsed_is_encoded_to_the_same_bytes(input in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut input = input;
            // A small length makes most inputs reach the bodies.
            if let [a, b, c, ..] = &mut input[..] {
                (*a, *b, *c) = (0, 0, 0);
            }
            if let Ok(Decoded::Complete { value, consumed }) = Message::parse(&input, &LIMITS) {
                prop_assert_eq!(&encoded(value), &input[..consumed]);
            }
        }
    }
}

mod decoder {
    use proptest::prelude::*;
    use wire::peer::{Decoder, Error, Event, Handshake, Limits, Message, PeerId, Reserved};

    const HANDSHAKE: Handshake =
        Handshake { reserved: Reserved::NONE.with_fast(), info_hash: [7; 20], peer_id: PeerId([8; 20]) };

    /// What a stream said, with payload joined.
    #[derive(Debug, Default, PartialEq)]
    struct Heard {
        events: Vec<String>,
        payload: Vec<u8>,
        error: Option<Error>,
    }

    impl Heard {
        fn feed(&mut self, decoder: &mut Decoder, mut input: &[u8]) {
            loop {
                match decoder.next(&mut input) {
                    Ok(Some(Event::Payload { data, left })) => {
                        assert!(!data.is_empty());
                        self.payload.extend_from_slice(data);
                        if left == 0 {
                            self.events.push("end of payload".into());
                        }
                    }
                    Ok(Some(event)) => self.events.push(format!("{event:?}")),
                    Ok(None) => {
                        assert!(input.is_empty(), "all input is taken");
                        return;
                    }
                    Err(error) => {
                        self.error = Some(error);
                        return;
                    }
                }
            }
        }
    }

    fn stream() -> Vec<u8> {
        let mut bytes = HANDSHAKE.encode().to_vec();
        for message in super::messages::all() {
            message.encode(&mut bytes);
            if let Message::Piece { len, .. } = message {
                bytes.extend((0..len).map(|i| i as u8));
            }
        }
        Message::Piece { index: 1, begin: 0, len: 0 }.encode(&mut bytes);
        Message::Bitfield(&[0x55; 3000]).encode(&mut bytes);
        Message::Piece { index: 2, begin: 0, len: 1000 }.encode(&mut bytes);
        bytes.extend((0..1000).map(|i| (i % 251) as u8));
        Message::Choke.encode(&mut bytes);
        bytes
    }

    fn heard(bytes: &[u8], mut cuts: Vec<usize>) -> Heard {
        let mut decoder = Decoder::new(Limits::default());
        let mut heard = Heard::default();
        cuts.sort_unstable();
        let mut start = 0;
        for end in cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([bytes.len()]) {
            heard.feed(&mut decoder, &bytes[start..end]);
            start = end;
        }
        heard
    }

    #[test]
    fn one_cut_at_each_byte_changes_nothing() {
        let bytes = stream();
        let whole = heard(&bytes, vec![]);
        assert_eq!(whole.error, None);
        assert_eq!(whole.events.len(), 1 + super::messages::all().len() + 1 + 4 + 1);
        assert_eq!(whole.payload.len(), 1003);
        for cut in 0..bytes.len() {
            assert_eq!(heard(&bytes, vec![cut]), whole, "cut at {cut}");
        }
        assert_eq!(heard(&bytes, (0..bytes.len()).collect()), whole, "single bytes");
    }

    #[test]
    fn an_error_stays() {
        let mut decoder = Decoder::after_handshake(Limits::default());
        let error = decoder.next(&mut &b"\xff\xff\xff\xff"[..]).unwrap_err();
        assert_eq!(decoder.next(&mut &b"\0\0\0\0"[..]), Err(error));
        assert_eq!(Decoder::new(Limits::default()).next(&mut &b"GET /"[..]), Err(Error::NotBitTorrent));
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_gives_the_same_events(
            cuts in proptest::collection::vec(0usize..6000, 0..40),
            damage in proptest::option::of((68usize..5000, any::<u8>())),
        ) {
            let mut bytes = stream();
            if let Some((at, value)) = damage {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            prop_assert_eq!(heard(&bytes, cuts), heard(&bytes, vec![]));
        }
    }
}
