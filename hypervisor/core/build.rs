//! Links the hypervisor as an image.

use svmconf_build::{Image, link_image};

fn main() {
    link_image(Image::default(), &[]);
}
